"""The model with layers replaced by the nearest member of GD++, with or without one γ."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.analyses.curvature.coordinates import without_x
from mesascope.analyses.matching.layer_match import LayerMatch
from mesascope.analyses.matching.nearest import Nearest
from mesascope.models import HookedRegressor
from mesascope.models.attention import Attention
from mesascope.probes import TokenBasis, reachable

Hooks = list[tuple[str | Callable[..., Any], Callable[..., Any]]]
Stream = Float[Tensor, "batch pos d_model"]


@dataclass(frozen=True)
class Member:
    """One layer's nearest member of GD++, run in the layer's place on the slots of its tokens."""

    attention: Attention
    basis: TokenBasis
    """All slots of the layer's tokens."""
    seen: TokenBasis
    """Those of them between which the member stands."""
    nearest: Nearest | None
    """None for a layer whose weights are zero."""
    near: bool
    """Whether the layer's weights are the member's, near enough for its name."""

    def __call__(self, resid: Stream, gamma: bool) -> Stream:
        """What it adds to the stream; without its x-update unless `gamma`."""
        if self.nearest is None:
            return torch.zeros_like(resid)
        query, key, value = (
            resid @ slots.dual(among).to(resid)
            for slots, among in (
                (self.seen.query, self.basis.query),
                (self.seen.key, self.basis.key),
                (self.seen.value, self.basis.value),
            )
        )
        scores = query @ self.nearest.QK.to(resid) @ key.mT
        scores = scores.masked_fill(~self.attention.mask(resid.shape[1]), 0.0)
        return scores @ value @ self._values(gamma).to(resid) @ self.seen.write.dual(self.basis.write).mT.to(resid)

    def _values(self, gamma: bool) -> Float[Tensor, "n_value n_write"]:
        """From values to writes, with or without what leads from x to x."""
        assert self.nearest is not None
        of_x = [[kind == "x" for kind, _ in slots.names] for slots in (self.seen.value, self.seen.write)]
        rows, cols = (torch.tensor(places, device=self.nearest.OV.device) for places in of_x)
        return self.nearest.OV if gamma else self.nearest.OV.masked_fill(rows[:, None] & cols, 0.0)


def find_members(
    model: HookedRegressor, bases: Mapping[int, TokenBasis], matches: Mapping[int, LayerMatch]
) -> dict[int, Member]:
    """The nearest member of GD++ of every layer with attention.

    Args:
        model: The model, its attention linear.
        bases: The slots of each layer's tokens.
        matches: Each layer's weights beside the constructions.
    """
    members = {}
    for layer, basis in bases.items():
        attention = model.blocks[layer].attn
        assert isinstance(attention, Attention)
        match = next((match for match in matches[layer].matches if match.family == "GD++"), None)
        nearest, near = (None, True) if match is None else (match.nearest, match.near)
        members[layer] = Member(attention, basis, reachable(basis, model, layer), nearest, near)
    return members


def member_hooks(model: HookedRegressor, members: Mapping[int, Member], without: int | None = None) -> Hooks:
    """Hooks that run the members in place of the layers, one of them without its γ."""
    hooks: Hooks = []
    for layer, member in members.items():
        reads: list[Tensor] = []

        def keep(resid: Stream, hook: Any, reads: list[Tensor] = reads) -> None:
            reads[:] = [resid]

        def replace(
            out: Stream, hook: Any, reads: list[Tensor] = reads, member: Member = member, gamma: bool = layer != without
        ) -> Stream:
            return member(reads[0], gamma)

        stream = "ln1.hook_normalized" if model.cfg.layer_norm else "hook_resid_pre"
        hooks += [(f"blocks.{layer}.{stream}", keep), (f"blocks.{layer}.hook_attn_out", replace)]
    return hooks


def zeroing_hook(layer: int, basis: TokenBasis) -> Hooks:
    """A hook that keeps one layer from changing x, at the query too: GD++ without γ leaves both alone."""
    rest = without_x(basis)

    def zero(out: Stream, hook: Any) -> Stream:
        return out @ rest.to(out)

    return [(f"blocks.{layer}.hook_attn_out", zero)]
