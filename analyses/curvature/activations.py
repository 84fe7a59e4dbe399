"""What each layer does to its context's x, held against −S x."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.analyses.claim import as_json
from mesascope.analyses.curvature.coordinates import reading_x
from mesascope.analyses.scope import Scope
from mesascope.probes import Estimate, TokenBasis, capture, jackknifed

N_BLOCKS = 20
STREAM = "curvature"

Xs = Float[Tensor, "batch n_context n_dims"]


@dataclass(frozen=True)
class XUpdate:
    """One layer's change Δx of its context's x, regressed on −S x, with S = Σ x xᵀ/n of the x that it reads."""

    gamma: Estimate
    """γ, on the mean loss, pooled over prompts."""
    r2: Estimate
    """Share of Σ‖Δx‖² that −γSx explains."""
    shuffled: Estimate
    """The same share with another prompt's S, which is as much as S has in common with all others."""
    size: Estimate
    """‖Δx‖/‖x‖."""

    @property
    def finite(self) -> bool:
        """Whether x and its change stayed numbers."""
        return all(map(math.isfinite, (self.gamma.value, self.r2.value, self.size.value)))

    def data(self) -> dict[str, Any]:
        """All of it."""
        return {name: as_json(estimate) for name, estimate in vars(self).items()}


def context_updates(
    scope: Scope, bases: Mapping[int, TokenBasis], n_prompts: int
) -> Iterator[dict[int, tuple[Xs, Xs]]]:
    """The context's x before each layer's attention, and what that adds to it, by layer; float64.

    Args:
        scope: A model on joint tokens.
        bases: The slots of each layer's tokens.
        n_prompts: How many, in `N_BLOCKS` batches or more.
    """
    hooks = {layer: (f"blocks.{layer}.hook_resid_pre", f"blocks.{layer}.hook_attn_out") for layer in bases}
    names = [name for pair in hooks.values() for name in pair]
    reads = {layer: reading_x(basis) for layer, basis in bases.items()}
    for batch in capture(scope.hooked, scope.batches(n_prompts, STREAM, N_BLOCKS), names):
        found = {}
        for layer, read in reads.items():
            x, dx = (batch.activations[name][:, :-1].double() @ read for name in hooks[layer])
            found[layer] = x, dx
        yield found


def measure_updates(scope: Scope, bases: Mapping[int, TokenBasis], n_prompts: int) -> dict[int, XUpdate]:
    """Every layer's γ and R² by its activations; NaN where they are.

    Args:
        scope: A model on joint tokens.
        bases: The slots of each layer's tokens.
        n_prompts: Prompts to pool; intervals leave out one batch at a time.
    """
    sums: dict[int, list[Tensor]] = {layer: [] for layer in bases}
    for batch in context_updates(scope, bases, n_prompts):
        for layer, (x, dx) in batch.items():
            sums[layer].append(_products(x, dx))
    return {layer: _regress(torch.stack(rows).cpu()) for layer, rows in sums.items()}


def _products(x: Xs, dx: Xs) -> Float[Tensor, " 6"]:
    """All sums that the regressions need: ⟨Δx, r⟩ and ‖r‖² for r = −S x, for the same with another S, ‖Δx‖², ‖x‖²."""
    S = x.mT @ x / x.shape[1]
    sums = []
    for gram in (S, S.roll(1, dims=0)):
        r = -x @ gram
        sums += [(dx * r).sum(), r.square().sum()]
    return torch.stack([*sums, dx.square().sum(), x.square().sum()])


def _regress(sums: Float[Tensor, "n_blocks 6"]) -> XUpdate:
    total = sums.sum(0)
    (values,), left_out = _readings(total[None]), _readings(total - sums)
    return XUpdate(*jackknifed(values, left_out))


def _readings(sums: Float[Tensor, "n 6"]) -> Float[Tensor, "n 4"]:
    along, own, along_other, other, change, size = sums.unbind(1)
    return torch.stack(
        [
            _ratio(along, own),
            _ratio(along, (own * change).sqrt()).square(),
            _ratio(along_other, (other * change).sqrt()).square(),
            _ratio(change, size).sqrt(),
        ],
        dim=1,
    )


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Zero where there is nothing to divide by, such as in a layer that leaves x alone; NaN stays NaN."""
    nothing = denominator == 0
    return (numerator / denominator.masked_fill(nothing, 1.0)).masked_fill(nothing, 0.0)
