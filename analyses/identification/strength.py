"""What predictions say of a learner's scalars and steps, with intervals."""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import t as student_t
from torch import Tensor

from mesascope.models import Learner
from mesascope.models.battery import Target
from mesascope.models.learners.base import IterativeLearner
from mesascope.probes import Estimate

STEP = 1e-5
"""Of the central differences, in the units of `Learner.parameters`: cancellation and curvature both cost 1e-10."""


def measure_strength(learner: Learner, target: Target) -> dict[str, Estimate]:
    """The learner's strengths, such as τ = ηk, with 95% intervals clustered by prompt.

    For free scalars the sandwich of nonlinear least squares, in which a free number of steps counts as one more; for
    steps alone, the range of counts that are not significantly worse.
    """
    if len(learner.parameters()):
        return _by_sandwich(learner, target)
    if isinstance(learner, IterativeLearner) and learner.strength:
        return _by_steps(learner, target)
    return {symbol: Estimate(value, value, value) for symbol, value in learner.strength.items()}


def measure_share(a: Learner, b: Learner, target: Target) -> Estimate:
    """The share t of the first in t·a + (1−t)·b, with both learners' scalars and steps uncertain too."""
    ours, theirs = target.predict(a), target.predict(b)
    along, wanted = ours - theirs, target.preds - theirs
    t = ((wanted * along).sum() / along.square().sum().clamp(min=1e-300)).item()
    (_, slopes_a), (_, slopes_b) = _slopes(a, target), _slopes(b, target)
    slopes = torch.cat([along[..., None], t * slopes_a, (1 - t) * slopes_b], dim=-1)
    covariance = _sandwich(slopes, t * along - wanted)
    half = _quantile(target) * covariance[0, 0].clamp(min=0).sqrt().item()
    return Estimate(t, t - half, t + half)


def _by_sandwich(learner: Learner, target: Target) -> dict[str, Estimate]:
    pairs, slopes = _slopes(learner, target)
    covariance = _sandwich(slopes, target.predict(learner) - target.preds).cpu()
    found = {}
    for symbol, value in learner.strength.items():
        gradient = torch.tensor([(up.strength[symbol] - down.strength[symbol]) / by for up, down, by in pairs]).double()
        half = _quantile(target) * (gradient @ covariance @ gradient).clamp(min=0).sqrt().item()
        found[symbol] = Estimate(value, value - half, value + half)
    return found


Pairs = list[tuple[Learner, Learner, float]]
"""Two learners that differ in one parameter, and by how much."""


def _slopes(learner: Learner, target: Target) -> tuple[Pairs, Float[Tensor, "batch n_counted n_parameters"]]:
    """∂ŷ/∂parameter by central differences."""
    at = learner.parameters()

    def moved(index: int, by: float) -> Learner:
        return learner.with_parameters(at + by * (np.arange(len(at)) == index))

    pairs: Pairs = [(moved(index, STEP), moved(index, -STEP), 2 * STEP) for index in range(len(at))]
    if isinstance(learner, IterativeLearner) and learner.any_steps and learner.n_steps > 1:
        # The number of steps is estimated too, and nearly makes up for a smaller step size.
        more, fewer = (replace(learner, n_steps=learner.n_steps + sign) for sign in (1, -1))
        pairs.append((more, fewer, 2.0))
    slopes = [(target.predict(up) - target.predict(down)) / by for up, down, by in pairs]
    return pairs, torch.stack(slopes, dim=-1) if slopes else target.preds.new_zeros(*target.preds.shape, 0)


def _sandwich(
    slopes: Float[Tensor, "batch n_counted n_parameters"], residuals: Float[Tensor, "batch n_counted"]
) -> Float[Tensor, "n_parameters n_parameters"]:
    """Covariance of a nonlinear least-squares estimate, residuals dependent within prompts alone.

    Each prompt's residuals are replaced by what they would be had it been left out (CR3, the jackknife to first order):
    with several scalars a few prompts of large slopes decide, and fit themselves.

    Source: Bell and McCaffrey (2002).
    """
    hessian = torch.einsum("bpi,bpj->ij", slopes, slopes)
    unit = hessian.diagonal().sqrt().clamp(min=1e-300)  # parameters have units of their own
    inverse = torch.linalg.pinv(hessian / unit / unit[:, None], hermitian=True) / unit / unit[:, None]
    leverage = slopes @ inverse @ slopes.mT  # [prompt, point, point]
    apart = torch.eye(leverage.shape[-1]).to(leverage) - leverage
    left_out = torch.linalg.solve(apart + 1e-12 * torch.eye(leverage.shape[-1]).to(leverage), residuals[..., None])
    scores = (slopes * left_out).sum(1)  # [prompt, parameter]
    n = len(residuals)
    return inverse @ (scores.T @ scores) @ inverse * (n - 1) / n


def _quantile(target: Target) -> float:
    return float(student_t.ppf(0.975, len(target.preds) - 1))


def _by_steps(learner: IterativeLearner, target: Target) -> dict[str, Estimate]:
    best = _squares(learner, target)

    def as_near(k: int) -> bool:
        worse = _squares(replace(learner, n_steps=k), target) - best
        return bool(worse.mean() <= student_t.ppf(0.975, len(worse) - 1) * worse.std() / len(worse) ** 0.5)

    low = high = learner.n_steps
    while low > 0 and as_near(low - 1):
        low -= 1
    while high < 2 * learner.n_steps and as_near(high + 1):
        high += 1
    (symbol,) = learner.strength
    return {symbol: Estimate(float(learner.n_steps), float(low), float(high))}


def _squares(learner: Learner, target: Target) -> Float[Tensor, " batch"]:
    return (target.predict(learner) - target.preds).square().sum(1)
