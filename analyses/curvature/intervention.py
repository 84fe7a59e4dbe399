"""The loss without a layer's x-update, beside what GD++ without its γ predicts."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.analyses.claim import as_json
from mesascope.analyses.curvature.activations import N_BLOCKS
from mesascope.analyses.curvature.members import Hooks, Member, member_hooks, zeroing_hook
from mesascope.analyses.scope import BATCH, Scope
from mesascope.models import HookedRegressor, Prompts
from mesascope.probes import Estimate, block_sums, jackknife_ratio

STREAM = "curvature loss"


@dataclass(frozen=True)
class Ablation:
    """By what factor the loss rises when one layer no longer changes x.

    Predicted is that of GD++ with the scalars that the weights hold and this γ zero, over the same with its γ; other
    layers whose weights are not near GD++ run as they are.

    Of the two averages the typical one decides. Without a layer's γ the later steps meet eigenvalues that they were
    never tuned to, some prompts diverge, and few of them are all of the mean: one in 4,000 held 70% of it in a
    four-layer model, whose loss rose by 23 orders of magnitude. Steps that are a few percent off GD++ are there a few
    percent off in the exponent, hence `share` compares logarithms.
    """

    typical: Estimate
    """The geometric mean over prompts of the factor on each one's loss."""
    typical_predicted: Estimate
    mean: Estimate
    """The factor on the mean loss."""
    mean_predicted: Estimate
    share: Estimate
    """log typical/log typical_predicted; zero where no rise is predicted."""

    def data(self) -> dict[str, Any]:
        """All of it."""
        return {name: as_json(found) for name, found in vars(self).items()}


def ablate(scope: Scope, members: Mapping[int, Member], layers: list[int], n_prompts: int) -> dict[int, Ablation]:
    """Zero the x-update of some layers, one at a time.

    In float64 whatever the model is in: losses rise by up to 24 orders of magnitude.

    Args:
        scope: The model.
        members: The nearest member of GD++ of every layer.
        layers: The layers to zero.
        n_prompts: Prompts to score, on which nothing else was measured.
    """
    model = HookedRegressor(scope.hooked.cfg, scope.hooked.seed).to(scope.device, torch.float64)
    model.load_state_dict(scope.hooked.state_dict())
    prompts = scope.prompts(n_prompts, STREAM).to(torch.float64)
    # Below the model's own rounding nothing is an error.
    floor = torch.finfo(scope.dtype).eps ** 2 * prompts.ys.square().mean()

    def losses(hooks: Hooks) -> Float[Tensor, " n_prompts"]:
        return _losses(scope, model, prompts, hooks).clamp(min=floor)

    own, found = losses([]), {}
    for layer in layers:
        replaced = {other: member for other, member in members.items() if member.near or other == layer}
        exact, without = (losses(member_hooks(model, replaced, place)) for place in (None, layer))
        zeroed = losses(zeroing_hook(layer, members[layer].basis))
        found[layer] = _compare(own, zeroed, exact, without)
    return found


@torch.no_grad()
def _losses(scope: Scope, model: HookedRegressor, prompts: Prompts, hooks: Hooks) -> Float[Tensor, " n_prompts"]:
    read = model.read_points(prompts.n_points)
    with model.hooks(fwd_hooks=hooks):
        parts = [
            scope.task.counted_losses(model(batch.xs, batch.ys), batch.ys, read).mean(1)
            for batch in prompts.split(BATCH)
        ]
    return torch.cat(parts).cpu()


def _compare(own: Tensor, zeroed: Tensor, exact: Tensor, without: Tensor) -> Ablation:
    rises, predicted = (block_sums((a / b).log(), N_BLOCKS) for a, b in ((zeroed, own), (without, exact)))
    counts = block_sums(torch.ones_like(own), N_BLOCKS)
    own, zeroed, exact, without = (block_sums(losses, N_BLOCKS) for losses in (own, zeroed, exact, without))
    return Ablation(
        typical=_exp(jackknife_ratio(rises, counts)),
        typical_predicted=_exp(jackknife_ratio(predicted, counts)),
        mean=jackknife_ratio(zeroed, own),
        mean_predicted=jackknife_ratio(without, exact),
        share=jackknife_ratio(rises, predicted) if predicted.any() else Estimate(0.0, 0.0, 0.0),
    )


def _exp(log: Estimate) -> Estimate:
    return Estimate(*(math.exp(min(end, 700.0)) for end in (log.value, log.low, log.high)))
