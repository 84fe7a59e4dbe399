"""The loss without some heads, or without what one head tells another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.models.attention import Attention
from mesascope.models.blocks import TransformerBlock
from mesascope.models.prompts import Prompts
from mesascope.models.regressor import HookedRegressor
from mesascope.probes.capturing import capture
from mesascope.probes.direct_effects import Component, Hooks, mean_ablation

Head = tuple[int, int]
"""(layer, head), both from 0 on."""
Use = Literal["q", "k", "v"]
"""What a head reads the stream as: query, key or value."""
Kind = Literal["mean", "resample"]
Z = Float[Tensor, "batch pos n_heads d_head"]
Stream = Float[Tensor, "batch pos d_model"]


@dataclass(frozen=True)
class Knockout:
    """Some heads whose output is replaced everywhere, or only in what some later heads read as query, key or value.

    By the mean of each position over other prompts (`mean`), or by the output on another prompt (`resample`).
    """

    heads: tuple[Head, ...]
    kind: Kind = "mean"
    readers: tuple[Head, ...] = ()
    """The heads that read the replacement; none for all of the model."""
    uses: tuple[Use, ...] = ("q", "k", "v")
    """What they read it as."""

    @property
    def first(self) -> int:
        """The first layer that runs otherwise."""
        return min(layer for layer, _ in self.readers or self.heads)


def attention_layers(model: HookedRegressor) -> list[int]:
    """The layers that have heads; none of an LSTM's."""
    return [layer for layer, block in enumerate(model.blocks) if isinstance(block.attn, Attention)]


class CleanRun:
    """One batch of prompts as the model runs it, from which knockouts are run on.

    Layers before a knockout's first are not run again.

    Args:
        model: A model with heads.
        prompts: The batch.
        means: What replaces heads that are knocked out by their mean: of `component_means` on other prompts as long.
    """

    def __init__(self, model: HookedRegressor, prompts: Prompts, means: Mapping[str, Float[Tensor, "pos ..."]]):
        self.model, self.prompts, self.means = model, prompts, means
        self.layers = attention_layers(model)
        names = [f"blocks.{layer}.hook_resid_pre" for layer in range(model.cfg.n_layers)]
        names += [f"blocks.{layer}.attn.hook_z" for layer in self.layers]
        names += [name for name in model.hook_dict if name.endswith("hook_resid_mid")]
        (run,) = capture(model, [prompts], names)
        self.preds, self._kept = run.preds, run.activations

    def resid(self, layer: int) -> Stream:
        """The stream that a layer reads."""
        return self._kept[f"blocks.{layer}.hook_resid_pre"]

    def z(self, layer: int) -> Z:
        """Each head's mixture of values."""
        return self._kept[f"blocks.{layer}.attn.hook_z"]

    def replacement(self, layer: int, kind: Kind) -> Z:
        """What stands in for the output of a layer's heads: their mean, or that on the batch's next prompt."""
        z = self.z(layer)
        return self.means[f"blocks.{layer}.attn.hook_z"].to(z).expand_as(z) if kind == "mean" else z.roll(1, dims=0)

    @torch.no_grad()
    def without(self, knockout: Knockout) -> Float[Tensor, "batch n_read *d_out"]:
        """The predictions without."""
        hooks = self._edges(knockout) if knockout.readers else self._replacing(knockout)
        with self.model.hooks(fwd_hooks=hooks):
            return run_from(self.model, self.resid(knockout.first), knockout.first, self.prompts.n_points)

    def _replacing(self, knockout: Knockout) -> Hooks:
        heads = [Component(layer, head) for layer, head in knockout.heads]
        return mean_ablation(heads, {head.hook: self.replacement(head.layer, knockout.kind) for head in heads})

    def _edges(self, knockout: Knockout) -> Hooks:
        hooks: Hooks = []
        changes = self.changes(knockout)
        for layer, heads in _by_layer(knockout.readers).items():
            read: list[Stream] = []

            def keep(resid: Stream, hook: Any, read: list[Stream] = read) -> None:
                read[:] = [resid]

            hooks.append((f"blocks.{layer}.hook_resid_pre", keep))
            block = cast(TransformerBlock, self.model.blocks[layer])
            for which in knockout.uses:

                def tell(
                    own: Z,
                    hook: Any,
                    block: TransformerBlock = block,
                    which: Use = which,
                    change: Stream = changes[layer],
                    read: list[Stream] = read,
                    heads: list[int] = heads,
                ) -> Z:
                    own = own.clone()
                    own[:, :, heads] = reading(block, read[0] + change, which)[:, :, heads]
                    return own

                hooks.append((f"blocks.{layer}.attn.hook_{which}", tell))
        return hooks

    def changes(self, knockout: Knockout) -> dict[int, Stream]:
        """What the knocked out heads' other output adds to the stream that each later layer reads.

        Directly and through the MLPs in between, while all other heads write what they wrote.

        Source: Wang et al. (2022), path patching.
        """
        heads, found = _by_layer(knockout.heads), {}
        change = torch.zeros_like(self.resid(0))
        for layer, block in enumerate(self.model.blocks):
            found[layer] = change
            if layer in heads:
                attention, at = cast(Attention, block.attn), heads[layer]
                other = self.replacement(layer, knockout.kind) - self.z(layer)
                W_O = self.model.cfg.damping * attention.W_O.detach()[at]
                change = change + torch.einsum("bqhd,hdm->bqm", other[:, :, at], W_O)
            mlp = getattr(block, "mlp", None)
            if mlp is not None and change.any():
                before = self._kept[f"blocks.{layer}.hook_resid_mid"]
                norm, damping = cast(TransformerBlock, block).ln2, self.model.cfg.damping
                change = change + damping * (mlp(norm(before + change)) - mlp(norm(before)))
        return found


def _by_layer(heads: Sequence[Head]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for layer, head in heads:
        found.setdefault(layer, []).append(head)
    return found


def reading(block: TransformerBlock, resid: Stream, which: Use) -> Z:
    """What a layer's heads read from another stream as query, key or value, its norm recomputed."""
    attention = cast(Attention, block.attn)
    place, read = "qkv".index(which), block.ln1(resid)
    weight = attention.qkv_weight.unflatten(1, (3, attention.n_heads, attention.d_head))[:, place]
    found = torch.einsum("bpm,mhd->bphd", read, weight)
    if attention.qkv_bias is not None:
        found = found + attention.qkv_bias.unflatten(0, (3, attention.n_heads, attention.d_head))[place]
    return found


def run_from(model: HookedRegressor, resid: Stream, layer: int, n_points: int) -> Float[Tensor, "batch n_read *d_out"]:
    """Predictions of a model that starts at a layer, from the stream which that reads."""
    for block in model.blocks[layer:]:
        resid = block(resid)
    return model.unembed(model.ln_final(resid)[:, model.read_positions(n_points)])
