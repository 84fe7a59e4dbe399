"""The layers of a stack of linear self-attention as steps of GD++, fitted one after another."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.models import FilterLearner, GradientDescentPlusPlus, HookedRegressor
from mesascope.probes import Estimate, Spectrum, jackknifed, share_of_prompts
from mesascope.probes.jackknife import N_BLOCKS


@dataclass(frozen=True)
class Step:
    """One layer as a step of GD++ on S/n, given the layers before."""

    label: str
    eta: Estimate
    gamma: Estimate | None
    """γ of the x-update in the layer before; the first layer has none."""
    r2: Estimate
    """About zero, on the prompts fitted: two numbers a layer."""
    untrained: Estimate
    """The same in untrained twins: their mean, and the interval for one more."""

    @property
    def verdict(self) -> str:
        """Whether it is such a step."""
        return ("GD++ step" if self.gamma else "GD step") if self.r2.low > max(0.95, self.untrained.high) else "none"


def learners_of(steps: Sequence[Step]) -> list[FilterLearner]:
    """GD++ after two steps and more; after one it is GD."""
    etas = tuple(step.eta.value for step in steps)
    gammas = (*(step.gamma.value for step in steps if step.gamma is not None), 0.0)
    return [GradientDescentPlusPlus(etas[:k], gammas[:k]) for k in range(2, len(steps) + 1)]


def is_linear_stack(model: HookedRegressor) -> bool:
    """Whether it is von Oswald's linear self-attention, whose y-slot is −ŷ after every layer."""
    cfg = model.cfg
    plain = type(cfg).linear_self_attention(cfg.n_dims, cfg.n_points, cfg.n_layers, cfg.n_heads, cfg.tied)
    return cfg.model_copy(update={"init_scale": plain.init_scale, "d_head": plain.d_head}) == plain


def fit_steps(
    spectrum: Spectrum, preds: Float[Tensor, "n_layers batch"]
) -> list[tuple[Estimate, Estimate | None, Estimate]]:
    """η, γ and R² of every layer as a step of GD++, each fitted to what it predicts given the layers before.

    With λ the eigenvalues of S/t, left = Π(1−η_l λ_l) and λ_{l+1} = λ_l (1−γ_l λ_l)², layer l adds η_l times what
    `left` leaves of the transformed data's moments. Given γ_{l-1} that is linear regression, and as a function of it
    a ratio of two quartics, so that no start can mislead. Intervals leave out blocks of prompts, in all layers at once.
    """
    targets, t = spectrum.targets(preds), spectrum.point
    weights = _all_and_without_each_block(targets.shape[1])
    eigenvalues, products = spectrum.eigenvalues / t, spectrum.products / t
    left = share = torch.ones(len(weights), *eigenvalues.shape, dtype=torch.float64)
    recovered = torch.zeros_like(left)
    steps: list[tuple[Estimate, Estimate | None, Estimate]] = []
    for target in targets:
        current, moments = eigenvalues * share, products * left * share
        missing = target - (products * recovered).sum(-1)
        eta, gamma = _fit_step(current, moments, missing, weights, transforms=bool(steps))
        share = share * (1 - gamma[:, None, None] * current).square()
        recovered = recovered + eta[:, None, None] * left * share
        left = left * (1 - eta[:, None, None] * eigenvalues * share)
        scalars = torch.stack([eta, gamma], dim=1)
        found = jackknifed(scalars[0], scalars[1:])
        missed = target - (products * recovered[0]).sum(-1)
        r2 = share_of_prompts(missed.square(), target.square())
        steps.append((found[0], found[1] if steps else None, r2))
    return steps


def _all_and_without_each_block(n_prompts: int) -> Float[Tensor, "n_fits batch"]:
    """Weights of prompts: all, then all but one block, for each of them."""
    weights = torch.ones(1 + N_BLOCKS, n_prompts, dtype=torch.float64)
    for index, block in enumerate(torch.arange(n_prompts).tensor_split(N_BLOCKS)):
        weights[1 + index, block] = 0
    return weights


def _fit_step(
    current: Float[Tensor, "n_fits batch n_dims"],
    moments: Float[Tensor, "n_fits batch n_dims"],
    missing: Float[Tensor, "n_fits batch"],
    weights: Float[Tensor, "n_fits batch"],
    transforms: bool,
) -> tuple[Float[Tensor, " n_fits"], Float[Tensor, " n_fits"]]:
    """η and γ of one step.

    Args:
        current: Eigenvalues of the data that the layers before have made.
        moments: What is left of their moments, along the query.
        missing: What is left to predict.
        weights: Of prompts.
        transforms: Whether a layer before may have changed the data; otherwise γ = 0.
    """
    F = torch.stack([moments, moments * current, moments * current.square()], dim=-1).sum(2)  # [fit, prompt, power]
    FF, Fy = torch.einsum("fn,fni,fnj->fij", weights, F, F), torch.einsum("fn,fni,fn->fi", weights, F, missing)
    scale = 1 / current.abs().mean().item()
    gamma = best_gamma(FF, Fy, scale) if transforms else torch.zeros(len(weights)).double()
    v = _powers(gamma)
    return (v * Fy).sum(1) / torch.einsum("fi,fij,fj->f", v, FF, v).clamp(min=1e-300), gamma


def _powers(gamma: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape 3"]:
    """(1 − γλ)² in powers of λ."""
    return torch.stack([torch.ones_like(gamma), -2 * gamma, gamma.square()], dim=-1)


def best_gamma(FF: Float[Tensor, "n_fits 3 3"], Fy: Float[Tensor, "n_fits 3"], unit: float) -> Float[Tensor, " n_fits"]:
    """The γ at which a step on (I − γS/t)-transformed data explains most; a grid, then ever finer ones about its best.

    Args:
        FF: Products of the contributions of λ^0, λ^1 and λ^2.
        Fy: Their products with what is to be explained.
        unit: Scale of γ, 1/λ.
    """
    side = unit * torch.logspace(-3, 2, 400, dtype=torch.float64)
    grid = torch.cat([-side.flip(0), torch.zeros(1).double(), side]).expand(len(FF), -1)
    for _ in range(8):
        v = _powers(grid)
        gain = torch.einsum("fgi,fi->fg", v, Fy).square()
        gain = gain / torch.einsum("fgi,fij,fgj->fg", v, FF, v).clamp(min=1e-300)
        best = gain.argmax(1, keepdim=True)
        low, high = (grid.gather(1, (best + side).clamp(0, grid.shape[1] - 1)) for side in (-1, 1))
        centre = grid.gather(1, best)
        grid = low + (high - low) * torch.linspace(0, 1, 21, dtype=torch.float64)
    return centre[:, 0]
