"""Gradient descent that also improves the conditioning of its data: GD++."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.models.learners.base import FilterLearner, Sweep
from mesascope.models.streams import generator

if TYPE_CHECKING:
    from mesascope.models.tasks.base import Regression

N_STARTS = 24
"""Random starts of each number of steps, besides those with one η and one γ."""


@dataclass(frozen=True, repr=False)
class GradientDescentPlusPlus(FilterLearner):
    """In each step a gradient step on the transformed data, and x ← (I − γ_l S/t) x, both from the old x.

    On the eigenvalues λ of S/t: 1 − g(λ) = Π_l (1 − η_l λ_l) with λ_1 = λ and λ_{l+1} = λ_l (1 − γ_l λ_l)². The last
    γ changes nothing that is read. Where that polynomial has real roots, `ScheduledGradientDescent` with as many steps
    as its degree predicts the same.

    Args:
        etas: η_l, one per step.
        gammas: γ_l, one per step.

    Raises:
        ValueError: There are not as many γ as η.

    Source: von Oswald et al. (2023), section 3 and appendix A.10.
    """

    family: ClassVar[str] = "GD++"
    multi_start: ClassVar[bool] = True
    limits: ClassVar[tuple[str, ...]] = ("GD", "scheduled GD", "momentum", "averaging", "least squares")
    n_steps: int = field(init=False)
    etas: tuple[float, ...]
    gammas: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.etas) != len(self.gammas):
            raise ValueError(f"{len(self.etas)} etas and {len(self.gammas)} gammas; expected one of each per step")
        object.__setattr__(self, "n_steps", len(self.etas))

    @property
    def label(self) -> str:
        """Steps and scalars."""
        etas, gammas = (", ".join(f"{value:.3g}" for value in values) for values in (self.etas, self.gammas[:-1]))
        return f"GD++ k={self.n_steps} η=({etas}) γ=({gammas})"

    def parameters(self) -> np.ndarray:
        """Every η and every γ that is read, as they are: negative ones mean something too."""
        return np.array([*self.etas, *self.gammas[:-1]])

    def with_parameters(self, values: np.ndarray) -> "GradientDescentPlusPlus":
        """As many steps with other scalars."""
        etas, gammas = values[: self.n_steps].tolist(), values[self.n_steps :].tolist()
        return replace(self, etas=tuple(etas), gammas=(*gammas, *self.gammas[-1:]))

    @property
    def strength(self) -> dict[str, float]:
        """Every scalar that is read."""
        etas = {f"η{index}": eta for index, eta in enumerate(self.etas, 1)}
        return etas | {f"γ{index}": gamma for index, gamma in enumerate(self.gammas[:-1], 1)}

    @classmethod
    def sweeps(cls, task: "Regression") -> tuple[Sweep, ...]:
        """Two to four steps: with one η and one γ, and with log-uniform ones that grow from step to step.

        The best scalars of a step grow, since the data shrinks: drawn like that, fewer starts lead to a tuned learner.
        """
        from mesascope.models.tasks.base import sampled_curvature  # tasks know learners, so not at import

        # Not 1/E x_i², beyond which an ill-conditioned task has long diverged.
        unit = 3 / sampled_curvature(task)
        starts = [
            ((eta,) * k, (gamma,) * k) for k in (2, 3, 4) for eta in (0.1, 0.3, 1.0) for gamma in (0.03, 0.1, 0.3)
        ]
        for k in (2, 3, 4):
            step = torch.arange(k)
            uniform = torch.rand(2, N_STARTS, k, generator=generator(0, "starts of GD++", k), dtype=torch.float64)
            etas = 0.15 * 10 ** uniform[0] * 2.5**step
            gammas = 0.06 * 10 ** (1.2 * uniform[1]) * 2.0**step
            starts += zip(etas.tolist(), gammas.tolist(), strict=True)
        return tuple(
            Sweep(cls(tuple(unit * eta for eta in etas), (*(unit * gamma for gamma in gammas[:-1]), 0.0)), (len(etas),))
            for etas, gammas in starts
        )

    def multiplier(
        self, eigenvalues: Float[Tensor, "... n_dims"], counts: Float[Tensor, "..."], steps: Sequence[int]
    ) -> list[Float[Tensor, "... n_dims"]]:
        """m(λ) = g(λ)/λ, summed step by step, so that nothing is divided by λ.

        Raises:
            ValueError: A step count is beyond the number of scalars.
        """
        if max(steps, default=0) > self.n_steps:
            raise ValueError(f"steps={list(steps)}: this learner has scalars for {self.n_steps} steps")
        scale = counts.clamp(min=1.0)
        recovered = gd_plus_plus_multipliers(
            eigenvalues / scale, *(torch.tensor(values, dtype=torch.float64) for values in (self.etas, self.gammas))
        )
        return [recovered[k] / scale for k in steps]


def gd_plus_plus_multipliers(
    eigenvalues: Float[Tensor, "*shape"], etas: Float[Tensor, " n_steps"], gammas: Float[Tensor, " n_steps"]
) -> list[Float[Tensor, "*shape"]]:
    """m(λ) after 0, 1, … steps on a matrix with these eigenvalues; differentiable in η and γ."""
    recovered, left, share = torch.zeros_like(eigenvalues), torch.ones_like(eigenvalues), torch.ones_like(eigenvalues)
    out = [recovered]
    for eta, gamma in zip(etas, gammas, strict=True):
        current = eigenvalues * share  # λ_l; `share` is λ_l/λ and `left` is 1 − g
        recovered = recovered + left * eta * share
        left = left * (1 - eta * current)
        share = share * (1 - gamma * current).square()
        out.append(recovered)
    return out
