"""Gradient descent with a step size for each step."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.models.learners.base import FilterLearner, Sweep
from mesascope.models.learners.steps import at_steps
from mesascope.models.streams import generator

if TYPE_CHECKING:
    from mesascope.models.tasks.base import Regression

N_STARTS = 16
"""Random schedules of each length, besides those of equal steps."""


@dataclass(frozen=True, repr=False)
class ScheduledGradientDescent(FilterLearner):
    """w ← w − η_l (S w − b)/t from w = 0, a step size for each step; g(λ) = 1 − Π_l (1 − η_l λ), λ of S/t.

    The order of the steps changes the path and not its end. The residual 1 − g may be any polynomial that is 1 at zero
    and has real roots. So momentum with as many steps is one of these learners too, and GD++ with fewer: its
    second step is of degree three, and three of these if 4η_2 ≥ 27γ_1.

    Args:
        etas: η_l, one per step; a negative one ascends.

    Raises:
        ValueError: An η is not finite.

    Source: Young (1953), Richardson's method with a parameter for each step; the untied layers of von Oswald et al.
    (2023) without their γ.
    """

    family: ClassVar[str] = "scheduled GD"
    multi_start: ClassVar[bool] = True
    limits: ClassVar[tuple[str, ...]] = ("GD", "GD++", "momentum", "averaging", "least squares")
    n_steps: int = field(init=False)
    etas: tuple[float, ...]

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, self.etas)):
            raise ValueError(f"ScheduledGradientDescent(etas={self.etas}): expected finite step sizes")
        object.__setattr__(self, "n_steps", len(self.etas))

    @property
    def label(self) -> str:
        """Steps and step sizes."""
        return f"scheduled GD k={self.n_steps} η=({', '.join(f'{eta:.3g}' for eta in self.etas)})"

    def parameters(self) -> np.ndarray:
        """Every η_l as it is, since a negative one means something too."""
        return np.array(self.etas)

    def with_parameters(self, values: np.ndarray) -> "ScheduledGradientDescent":
        """As many steps of other sizes."""
        return replace(self, etas=tuple(values.tolist()))

    @property
    def strength(self) -> dict[str, float]:
        """The step sizes, the smallest first: predictions do not show their order."""
        return {f"η{index}": eta for index, eta in enumerate(sorted(self.etas), 1)}

    @classmethod
    def sweeps(cls, task: "Regression") -> tuple[Sweep, ...]:
        """Two to four steps: of equal sizes, and of sizes drawn log-uniformly over two decades, the smallest first."""
        from mesascope.models.tasks.base import sampled_curvature  # tasks know learners, so not at import

        # Not 1/E x_i², beyond which an ill-conditioned task has long diverged.
        unit = 3 / sampled_curvature(task)
        starts = []
        for k in (2, 3, 4):
            rng = generator(0, "starts of scheduled GD", k)
            exponents = 2 * torch.rand(N_STARTS, k, generator=rng, dtype=torch.float64) - 1
            equal = torch.tensor([0.1, 0.3, 1.0], dtype=torch.float64)[:, None].expand(-1, k)
            starts += torch.cat([equal, 10 ** exponents.sort().values]).tolist()
        return tuple(Sweep(cls(tuple(unit * eta for eta in etas)), (len(etas),)) for etas in starts)

    def multiplier(
        self, eigenvalues: Float[Tensor, "... n_dims"], counts: Float[Tensor, "..."], steps: Sequence[int]
    ) -> list[Float[Tensor, "... n_dims"]]:
        """m(λ) = g(λ)/λ, summed step by step, so that nothing is divided by λ.

        Raises:
            ValueError: A step count is beyond the number of step sizes.
        """
        if max(steps, default=0) > self.n_steps:
            raise ValueError(f"steps={list(steps)}: this learner has step sizes for {self.n_steps} steps")
        scale = counts.clamp(min=1.0)
        return [m / scale for m in at_steps(self._iterates(eigenvalues / scale), steps)]

    def _iterates(self, eigenvalues: Float[Tensor, "*shape"]) -> Iterator[Float[Tensor, "*shape"]]:
        m = torch.zeros_like(eigenvalues)
        yield m
        for eta in self.etas:
            m = m + eta * (1 - eigenvalues * m)
            yield m
