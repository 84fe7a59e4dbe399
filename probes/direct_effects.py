"""What each head and MLP adds to the prediction by itself, and the model without it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.models.attention import Attention
from mesascope.models.interfaces import AffineReadOut, LayerNorm, SlotReadOut
from mesascope.models.prompts import Prompts
from mesascope.models.regressor import HookedRegressor
from mesascope.probes.capturing import capture

Hooks = list[tuple[str | Callable[..., Any], Callable[..., Any]]]


@dataclass(frozen=True)
class Component:
    """A head or an MLP, which adds to the residual stream."""

    layer: int
    """From 0 on."""
    head: int | None
    """None of the MLP."""

    @property
    def label(self) -> str:
        """Such as L1H2 or L1 MLP: layers are counted from 1 on, heads from 0."""
        return f"L{self.layer + 1} MLP" if self.head is None else f"L{self.layer + 1}H{self.head}"

    @property
    def hook(self) -> str:
        """Where it passes: its mixture of values, or what the MLP adds."""
        return f"blocks.{self.layer}." + ("hook_mlp_out" if self.head is None else "attn.hook_z")


def components_of(model: HookedRegressor) -> tuple[Component, ...]:
    """Heads and MLPs in the order of the forward pass; none of an LSTM's."""
    found = []
    for layer, block in enumerate(model.blocks):
        if isinstance(block.attn, Attention):
            found += [Component(layer, head) for head in range(block.attn.n_heads)]
        if getattr(block, "mlp", None) is not None:
            found.append(Component(layer, None))
    return tuple(found)


def direct_effects(
    model: HookedRegressor, prompts: Prompts
) -> tuple[Float[Tensor, "batch n_components_2"], Float[Tensor, " batch"]]:
    """What the read-in, each component and the rest add to the last prediction, and that prediction; float64.

    The read-out is linear, and so is the final norm once its scale is what it was on this prompt: the parts add up to
    the prediction. The rest are biases, and what a clip cut off.

    Args:
        model: A transformer with one output.
        prompts: Its prompts; each one's last read point is looked at.

    Source: Elhage et al. (2021), direct logit attribution. TransformerLens' tool of that name asks for tokens and a
    vocabulary; heads are taken through W_O u, so that no head's result is formed.
    """
    components = components_of(model)
    first, last = "blocks.0.hook_resid_pre", f"blocks.{model.cfg.n_layers - 1}.hook_resid_post"
    names = list(dict.fromkeys([first, last, *(component.hook for component in components)]))
    (run,) = capture(model, [prompts], names, read_only=True)
    end = {name: kept[:, -1].double() for name, kept in run.activations.items()}
    u, scale = read_direction(model), _scale(model, end[last])
    parts = [end[first] @ u]
    for component in components:
        if component.head is None:
            parts.append(end[component.hook] @ u)
        else:
            attention = cast(Attention, model.blocks[component.layer].attn)
            W_O = model.cfg.damping * attention.W_O[component.head].detach().double()
            parts.append(end[component.hook][:, component.head] @ (W_O @ u))
    effects = torch.stack(parts, dim=1) / scale
    preds = run.preds[:, -1].double()
    return torch.cat([effects, (preds - effects.sum(1))[:, None]], dim=1), preds


def read_direction(model: HookedRegressor) -> Float[Tensor, " d_model"]:
    """The direction u with which the prediction is h·u/scale and a constant, the norm's centring and weights in it."""
    if isinstance(model.unembed, SlotReadOut):
        return -torch.eye(model.cfg.d_model, dtype=torch.float64)[model.cfg.y_slot].to(next(model.parameters()).device)
    u = cast(AffineReadOut, model.unembed).W_U[:, 0].detach().double()
    if isinstance(model.ln_final, LayerNorm):
        u = model.ln_final.w.detach().double() * u
        u = u - u.mean()
    return u


def _scale(model: HookedRegressor, resid: Float[Tensor, "batch d_model"]) -> Float[Tensor, "batch 1"]:
    """That of the final norm, 1 without."""
    if not isinstance(model.ln_final, LayerNorm):
        return torch.ones_like(resid[:, :1])
    return (resid.var(-1, correction=0, keepdim=True) + LayerNorm.eps).sqrt()


def component_means(model: HookedRegressor, batches: Iterable[Prompts]) -> dict[str, Float[Tensor, "pos ..."]]:
    """The mean over prompts of what passes each component's hook, at each position."""
    names = list(dict.fromkeys(component.hook for component in components_of(model)))
    totals: dict[str, Tensor] = {}
    n_prompts = 0
    for batch in capture(model, batches, names):
        n_prompts += len(batch.prompts)
        for name, kept in batch.activations.items():
            total = kept.double().sum(0)
            totals[name] = totals[name] + total if name in totals else total
    return {name: total / n_prompts for name, total in totals.items()}


def mean_ablation(components: Sequence[Component], means: dict[str, Float[Tensor, "pos ..."]]) -> Hooks:
    """Hooks that hold some components at their mean, at every position.

    Args:
        components: Which.
        means: Of `component_means` on prompts as long, by hook; or other activations of prompts that are run, one each.
    """
    hooks: Hooks = []
    for component in components:

        def hold(kept: Tensor, hook: Any, component: Component = component) -> Tensor:
            mean = means[component.hook].to(kept)
            if component.head is None:
                return mean.expand_as(kept)
            kept = kept.clone()
            kept[:, :, component.head] = mean[..., component.head, :]
            return kept

        hooks.append((component.hook, hold))
    return hooks
