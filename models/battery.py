"""The rivals among which an identification chooses: every family over a grid of its free scalars."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import least_squares
from torch import Tensor

from mesascope.models import learners
from mesascope.models.learners.base import IterativeLearner, L, Learner, Sweep
from mesascope.models.prompts import Prompts
from mesascope.models.tasks import Regression

MAX_EVALUATIONS = 30
"""Of a learner while its scalars are refined, beside those of the Jacobian."""
N_FEW = 400
"""Predictions on which many starts are tried."""
MAX_MOVES = 16
"""Changes of its number of steps."""
N_STEPPED = 2
"""Pairs of learners whose steps are moved."""
NEGLIGIBLE = 0.001
"""Share of the target's size, and of its error, that is not worth another scalar."""
UNSURE, EARNED = 0.03, 0.1
"""Part of the unexplainable that is not worth one either, and how much of the log of the rest one must bring."""
WORTH, ROUNDING = 0.02, 1e-7
"""Part of what is left to explain, and of the target's size, that a change of steps must bring in a first search."""
SOLVED, FAR = 1e-14, 0.2
"""Shares of the target's size below which nothing is left to refine, and above which more or fewer steps will not."""


def rivals(task: Regression) -> tuple[Sweep, ...]:
    """Every family that can be held against a model on this task, over grids of its scalars, scaled to the task."""
    exported = (getattr(learners, name) for name in learners.__all__)
    classes = [found for found in exported if isinstance(found, type) and issubclass(found, Learner)]
    return tuple(sweep for cls in classes for sweep in cls.sweeps(task))


def battery(
    prompts: Prompts, sweeps: Sequence[Sweep], points: Sequence[int] | None = None
) -> tuple[list[Learner], Float[Tensor, "n_learners batch n_chosen"]]:
    """Every member of every sweep with its predictions at some points (default: all), from shared decompositions."""
    members = [member for sweep in sweeps for member in sweep.members()]
    return members, torch.cat([sweep.predict(prompts, points) for sweep in sweeps])


def bounded(
    preds: Float[Tensor, "*lead batch n_counted"], prompts: Prompts, points: Sequence[int]
) -> Float[Tensor, "*lead batch n_counted"]:
    """Predictions at some points, float64, tamed so that a few prompts do not decide every mean square.

    Where least squares exceeds the largest |y| of its prompt, as it does with noise and as many points as dimensions,
    all predictions are scaled down alike: that is linear, and mixtures stay mixtures. What is then beyond three times
    that |y| has diverged and stands at the bound, as does a learner that overflows.
    """
    largest = prompts.ys.double().abs().amax(1, keepdim=True)
    shrink = (largest / prompts.prefixes(points).least_squares.abs().clamp(min=1e-300)).clamp(max=1.0)
    tamed = (shrink * preds.double().nan_to_num(nan=torch.inf)).clamp(-3 * largest, 3 * largest)
    return tamed.nan_to_num(nan=0.0)  # 0·∞: a prompt without any y


@dataclass(frozen=True)
class Target:
    """Predictions that a learner is to imitate."""

    prompts: Prompts
    points: Sequence[int]
    """Points whose predictions count."""
    preds: Float[Tensor, "batch n_counted"]
    """Bounded."""
    unexplainable: float = 0.0
    """Σ (ŷ − best conceivable prediction of ŷ)², such as noise."""

    def predict(self, learner: Learner) -> Float[Tensor, "batch n_counted"]:
        """A learner's bounded predictions at these points."""
        return bounded(learner.predict_at(self.prompts, self.points), self.prompts, self.points)

    def distance(self, learner: Learner) -> float:
        """Σ (ŷ_learner − ŷ)²."""
        return (self.predict(learner) - self.preds).square().sum().item()

    def criterion(self, learner: Learner) -> tuple[float, float]:
        """What to minimise among a family's members: a scalar more must bring a tenth of what is left to explain.

        What is left is the distance beyond the unexplainable, on top of so much that a tenth of it is negligible. Then
        the distance itself.
        """
        distance = self.distance(learner)
        left = max(distance - self.unexplainable, 0.0) + self.floor / EARNED
        return math.log(left) + EARNED * len(learner.parameters()), distance

    @cached_property
    def negligible(self) -> float:
        """The distance that nothing is worth to close."""
        wrong = self.preds - self.prompts.ys[:, self.points]
        return NEGLIGIBLE * min(self.size, wrong.square().sum().item()) + 1e-300

    @cached_property
    def floor(self) -> float:
        """The distance that is not worth a scalar more."""
        return self.negligible + UNSURE * self.unexplainable

    @cached_property
    def size(self) -> float:
        """Σ ŷ²."""
        return self.preds.square().sum().item() + 1e-300

    def few(self) -> "Target":
        """The first prompts, as many as hold some hundreds of predictions: enough to find a basin."""
        n_prompts = max(1, -(-N_FEW // max(1, len(self.points))))
        return replace(self, prompts=self.prompts[:n_prompts], preds=self.preds[:n_prompts])


def refine(learner: Learner, target: Target, worth: float = WORTH) -> Learner:
    """The member of a learner's family nearby that imitates the target best.

    Its free scalars move by nonlinear least squares, its steps by ever smaller strides. A grid alone would cost a true
    learner that lies between its points a percent.

    Args:
        learner: Where to start.
        target: What to imitate.
        worth: Part of what is left to explain that a change of steps must bring to be made.
    """
    if not len(learner.parameters()):
        return learner
    best = polish(learner, target)
    if not SOLVED < target.distance(best) / target.size < FAR:
        return best
    return _stepped(best, lambda moved: polish(moved, target), target.distance, target, worth)


def _stepped(
    learner: L, settle: Callable[[L], L], distance: Callable[[L], float], target: Target, worth: float = WORTH
) -> L:
    """The learner after as many steps as bring it nearest, its scalars settled anew after every change."""
    if not isinstance(learner, IterativeLearner) or not learner.any_steps:
        return learner
    best: Any = learner  # mypy cannot say "L, and iterative"
    stride = max(learner.n_steps // 4, 2)
    for _ in range(MAX_MOVES):
        # Down to ±1 beside ±2: a step size beyond 2/λ makes odd and even numbers of steps two families.
        strides = {stride, stride // 2} if stride == 2 else {stride}
        steps = {best.n_steps + sign * length for length in strides for sign in (-1, 1)}
        moved = [settle(replace(best, n_steps=k)) for k in sorted(steps) if 0 < k <= learner.max_steps]
        nearest = min(moved, key=distance)
        left = max(distance(best) - target.unexplainable, 0.0)
        nearer = distance(best) - distance(nearest) > worth * left + ROUNDING * target.size
        if not nearer and stride == 2:
            break
        stride, best = (stride, nearest) if nearer else (max(stride // 2, 2), best)
    moved_most: L = best
    return moved_most


def polish(learner: L, target: Target, n_evaluations: int = MAX_EVALUATIONS) -> L:
    """The learner with its free scalars moved to the nearest optimum; never one that imitates the target worse."""

    def residuals(values: np.ndarray) -> np.ndarray:
        return (target.predict(learner.with_parameters(values)) - target.preds).flatten().cpu().numpy()

    moved = learner.with_parameters(_minimised(residuals, learner.parameters(), n_evaluations))
    return min((learner, moved), key=target.distance)


def refine_mixtures(pairs: Sequence[tuple[Learner, Learner]], target: Target) -> list[tuple[Learner, Learner]]:
    """Pairs of learners, the free scalars of each such that its best mixture imitates the target best.

    The steps of the best few are moved too, and they come first.
    """
    polished = sorted(
        (_polish_mixture(a, b, target) for a, b in pairs), key=lambda pair: _left(pair[0], pair[1], target)
    )
    return [*(_step_mixture(a, b, target) for a, b in polished[:N_STEPPED]), *polished[N_STEPPED:]]


def _step_mixture(a: Learner, b: Learner, target: Target) -> tuple[Learner, Learner]:
    if _left(a, b, target) > SOLVED * target.size:
        a = _stepped(
            a, lambda moved: _polish_mixture(moved, b, target)[0], lambda moved: _left(moved, b, target), target
        )
        b = _stepped(
            b, lambda moved: _polish_mixture(a, moved, target)[1], lambda moved: _left(a, moved, target), target
        )
    return _polish_mixture(a, b, target)


def _left(a: Learner, b: Learner, target: Target) -> float:
    return _mixed(a, b, target).square().sum().item()


def _mixed(a: Learner, b: Learner, target: Target) -> Float[Tensor, "batch n_counted"]:
    """What the best mixture leaves: its share is linear, so its optimum is closed (variable projection)."""
    other = target.predict(b)
    along, wanted = target.predict(a) - other, target.preds - other
    return wanted - (wanted * along).sum() / along.square().sum().clamp(min=1e-300) * along


def _polish_mixture(a: Learner, b: Learner, target: Target) -> tuple[Learner, Learner]:
    """Both learners with their free scalars moved together to the nearest optimum."""
    n, start = len(a.parameters()), np.concatenate([a.parameters(), b.parameters()])
    if not len(start):
        return a, b

    def residuals(values: np.ndarray) -> np.ndarray:
        left = _mixed(a.with_parameters(values[:n]), b.with_parameters(values[n:]), target)
        return left.flatten().cpu().numpy()

    moved = _minimised(residuals, start)
    if not np.square(residuals(moved)).sum() < np.square(residuals(start)).sum():
        return a, b
    return a.with_parameters(moved[:n]), b.with_parameters(moved[n:])


def _minimised(
    residuals: Callable[[np.ndarray], np.ndarray], start: np.ndarray, n_evaluations: int = MAX_EVALUATIONS
) -> np.ndarray:
    # MINPACK is much the faster, but wants as many residuals as scalars.
    method = "lm" if len(residuals(start)) >= len(start) else "trf"
    found = least_squares(residuals, start, method=method, x_scale="jac", max_nfev=n_evaluations)
    values: np.ndarray = found.x
    return values
