"""Learners that are planted as if they were models, and the tasks that they are planted on."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.analyses.planting import Draw
from mesascope.models import (
    BFGS,
    Averaging,
    Chebyshev,
    ConjugateGradient,
    DiscreteMMSE,
    GradientDescent,
    GradientDescentPlusPlus,
    HookedRegressor,
    Lasso,
    Learner,
    LeastSquares,
    LinearRegression,
    Momentum,
    NearestNeighbours,
    Newton,
    OnlineGradientDescent,
    PreconditionedGradientDescent,
    Prompts,
    Ridge,
    ScheduledGradientDescent,
    bayes_optimal,
    gd_plus_plus,
    gradient_descent,
)
from mesascope.models.inputs import Gaussian, Uniform, random_bases
from mesascope.models.spectra import Geometric, LogUniform, TwoLevel
from mesascope.models.tasks.base import sampled_curvature

N_POOL = 16
"""Tasks of the pool that discrete MMSE is planted with."""
PAIRS = (
    ("Newton", "least squares"),
    ("GD", "ridge"),
    ("ridge", "least squares"),
    ("conjugate gradient", "nearest neighbours"),
    ("Newton", "GD"),
)
"""Learners that are mixed."""
N_DIMS = (2, 3, 5)
"""Dimensions in which constructions are planted: in few, random weights predict much by chance."""
N_TRIES = 6
"""Draws of a mixture: many a pair is as good as one family, with its scalars in between."""


@dataclass(frozen=True)
class Plant:
    """A learner, or a mixture of two, that stands in for a model."""

    learners: tuple[Learner, ...]
    t: float = 1.0
    """Share of the first."""

    @property
    def families(self) -> tuple[str, ...]:
        """Whose verdict is right."""
        return tuple(learner.family for learner in self.learners)

    @property
    def family(self) -> str:
        """The row of the confusion matrix."""
        return self.families[0] if len(self.learners) == 1 else "mixture"

    @property
    def label(self) -> str:
        """The learner with its scalars, or both with their shares."""
        if len(self.learners) == 1:
            return self.learners[0].label
        return f"{self.t:.2f} of {self.learners[0].label} and {self.learners[1].label}"

    def predict(self, prompts: Prompts) -> Float[Tensor, "batch n_points"]:
        """Predictions at every point, float64."""
        parts = [learner.predict(prompts) for learner in self.learners]
        return parts[0] if len(parts) == 1 else self.t * parts[0] + (1 - self.t) * parts[1]


def tasks() -> dict[str, LinearRegression]:
    """The tasks that learners are planted on: spectra, noise and sizes."""
    return {
        "isotropic": LinearRegression(n_dims=5, n_points=16),
        "condition 100": LinearRegression(n_dims=5, n_points=16, inputs=Gaussian(spectrum=LogUniform(kappa=100))),
        "two levels, d=8": LinearRegression(n_dims=8, n_points=20, inputs=Gaussian(spectrum=TwoLevel(ratio=30))),
        "noisy uniform": LinearRegression(n_dims=4, n_points=14, inputs=Uniform(), noise_std=0.3),
        "one covariance": LinearRegression(
            n_dims=4, n_points=14, inputs=Gaussian(spectrum=Geometric(kappa=10), basis="axes")
        ),
    }


def plants(
    task: LinearRegression, n_each: int, rng: torch.Generator, is_single: Callable[[Plant], bool]
) -> Iterator[Plant]:
    """Learners of every family with scalars drawn at random, then mixtures of two.

    A mixture that one family alone predicts is drawn again, `N_TRIES` times at most.
    """
    make = _makers(task, rng)
    for build in make.values():
        yield from (Plant((build(),)) for _ in range(n_each))
    for first, second in PAIRS * n_each:
        drawn = (Plant((make[first](), make[second]()), Draw(rng).uniform(0.3, 0.7)) for _ in range(N_TRIES))
        yield from islice((plant for plant in drawn if not is_single(plant)), 1)


def built(n_each: int, rng: torch.Generator) -> Iterator[tuple[Plant, HookedRegressor, LinearRegression]]:
    """Models whose weights are set by hand, which have untrained twins, with the learner that each is."""
    draw = Draw(rng)
    for n_dims in N_DIMS:
        task = LinearRegression(n_dims=n_dims, n_points=2 * n_dims + 8)
        for _ in range(n_each):
            k, eta = draw.whole(1, 2), draw.uniform(0.3, 0.8)
            steps = gradient_descent(n_dims, task.n_points, [eta] * k)
            yield Plant((GradientDescent(k, eta),)), steps, task
            etas, gammas = (draw.uniform(0.3, 0.8), draw.uniform(0.3, 0.8)), (draw.uniform(0.1, 0.3), 0.0)
            curved = gd_plus_plus(n_dims, task.n_points, etas, gammas)
            yield Plant((GradientDescentPlusPlus(etas, gammas),)), curved, task


def _makers(task: LinearRegression, rng: torch.Generator) -> dict[str, Callable[[], Learner]]:
    """A learner of each kind with other scalars at every call.

    Step sizes are in units of E x_i², and such that learners are on their way: one that has not moved, or has
    converged, is any.
    """
    draw, unit, eigen = Draw(rng), task.inputs.mean_square, sampled_curvature(task)

    def etas(n: int) -> tuple[float, ...]:
        return tuple(sorted(draw.log_uniform(0.2, 1.5) / eigen for _ in range(n)))

    make: dict[str, Callable[[], Learner]] = {
        "GD": lambda: GradientDescent(draw.whole(1, 40), draw.log_uniform(0.03, 0.2) / eigen),
        "summed GD": lambda: GradientDescent(
            draw.whole(2, 60), draw.log_uniform(0.1, 0.8) / eigen / task.n_points, "sum"
        ),
        "scheduled GD": lambda: ScheduledGradientDescent(etas(draw.whole(2, 3))),
        "GD++": lambda: GradientDescentPlusPlus((*etas(2),), (draw.uniform(0.1, 0.35) / eigen, 0.0)),
        "momentum": lambda: Momentum(draw.whole(3, 12), draw.log_uniform(0.1, 0.4) / eigen, draw.uniform(0.4, 0.8)),
        "Chebyshev": lambda: Chebyshev(draw.whole(2, task.n_dims - 1)),
        "conjugate gradient": lambda: ConjugateGradient(draw.whole(1, task.n_dims - 2)),
        "BFGS": lambda: BFGS(draw.whole(1, task.n_dims - 2)),
        "Newton": lambda: Newton(draw.whole(2, 9)),
        "Newton, 2/F": lambda: Newton(draw.whole(2, 9), "twice_frobenius"),
        "Newton, 2/spectral": lambda: Newton(draw.whole(2, 9), "twice_spectral"),
        "ridge": lambda: Ridge(draw.log_uniform(0.1, 3.0) * unit),
        "Bayes-optimal": lambda: bayes_optimal(task),
        "least squares": lambda: LeastSquares(),
        "online GD": lambda: OnlineGradientDescent(draw.log_uniform(0.2, 0.8) / (task.n_dims * eigen)),
        "averaging": lambda: Averaging(),
        "nearest neighbours": lambda: NearestNeighbours(draw.whole(1, 5)),
        "lasso": lambda: Lasso(draw.log_uniform(0.05, 0.5) * unit),
        "discrete MMSE": lambda: DiscreteMMSE(N_POOL, draw.uniform(0.3, 1.0) * task.null_loss**0.5, task.w_std, 0),
    }
    if PreconditionedGradientDescent.sweeps(task):
        make["preconditioned GD"] = lambda: PreconditionedGradientDescent.of(
            draw.whole(1, 2), _preconditioner(task, rng)
        )
    return make


def _preconditioner(task: LinearRegression, rng: torch.Generator) -> Float[Tensor, "n_dims n_dims"]:
    """A symmetric positive definite matrix with eigenvalues over a factor of ten, its steps stable."""
    basis = random_bases(1, task.n_dims, rng)[0]
    return (basis * torch.logspace(-1, 0, task.n_dims, dtype=torch.float64)) @ basis.T * (0.8 / sampled_curvature(task))
