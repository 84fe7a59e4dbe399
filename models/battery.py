"""The rivals among which an identification chooses: every family over a grid of its free scalars."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from scipy.optimize import minimize_scalar
from torch import Tensor

from mesascope.models.learners.base import FilterLearner
from mesascope.models.learners.first_order import GradientDescent
from mesascope.models.learners.least_squares import LeastSquares, Ridge
from mesascope.models.learners.newton import Newton
from mesascope.models.prompts import Prompts
from mesascope.models.tasks import Regression

STEPS = (*range(1, 17), *(base * 2**j for j in range(1, 9) for base in (12, 16)))
"""Step counts of GD up to 4096: every one to 16, then two to an octave."""


@dataclass(frozen=True)
class Sweep:
    """One learner at several step counts, computed together."""

    learner: FilterLearner
    steps: tuple[int, ...]

    def members(self) -> Iterator[FilterLearner]:
        """The learner at each step count."""
        return (self.learner if k == self.learner.n_steps else replace(self.learner, n_steps=k) for k in self.steps)


def rivals(task: Regression) -> tuple[Sweep, ...]:
    """GD (both losses), Newton, ridge and least squares over grids of their scalars, scaled to the task.

    GD takes the steps of `STEPS`, on the sum loss (as Fu et al., 2024) with four step sizes and on the mean loss with
    eleven; Newton 1 … 23 steps; ridge 16 penalties. Step sizes are in units of 1/E x_i², so that they mean the same
    for every task.
    """
    unit = 1 / task.inputs.mean_square
    top = STEPS[-1]
    mean = [GradientDescent(top, unit * eta, "mean") for eta in torch.logspace(-2, 0.5, 11).tolist()]
    summed = [GradientDescent(top, unit * eta, "sum") for eta in (0.001, 0.003, 0.01, 0.03)]
    penalties = torch.logspace(-2, 2, 16).tolist()
    return (
        *(Sweep(learner, STEPS) for learner in [*mean, *summed]),
        Sweep(Newton(23), tuple(range(1, 24))),
        *(Sweep(Ridge(penalty * task.inputs.mean_square), (0,)) for penalty in penalties),
        Sweep(LeastSquares(), (0,)),
    )


def battery(
    prompts: Prompts, sweeps: Sequence[Sweep]
) -> tuple[list[FilterLearner], Float[Tensor, "n_learners batch n_points"]]:
    """Every member of every sweep with its predictions at every prefix, from one shared decomposition."""
    members = [member for sweep in sweeps for member in sweep.members()]
    return members, torch.cat([sweep.learner.path(prompts, sweep.steps) for sweep in sweeps])


def refine(learner: FilterLearner, score: Callable[[FilterLearner], float]) -> FilterLearner:
    """The learner with its free scalar moved, within a factor of two, to where `score` is highest.

    A grid alone would cost a true learner that lies between its points a percent of similarity.
    """
    if learner.scalar is None:
        return learner
    name, start = learner.scalar, math.log(getattr(learner, learner.scalar))

    def at(log_value: float) -> FilterLearner:
        changed: dict[str, Any] = {name: math.exp(log_value)}
        return replace(learner, **changed)

    bounds = (start - math.log(2), start + math.log(2))
    found = minimize_scalar(lambda x: -score(at(x)), bounds=bounds, method="bounded", options={"maxiter": 12})
    return max((learner, at(found.x)), key=score)
