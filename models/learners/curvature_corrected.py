"""Gradient descent that also improves the conditioning of its data: GD++."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.models.learners.base import FilterLearner


@dataclass(frozen=True, repr=False)
class GradientDescentPlusPlus(FilterLearner):
    """In each step a gradient step on the transformed data, and x ← (I − γ_l S/t) x, both from the old x.

    On the eigenvalues λ of S/t: 1 − g(λ) = Π_l (1 − η_l λ_l) with λ_1 = λ and λ_{l+1} = λ_l (1 − γ_l λ_l)². The last
    γ changes nothing that is read.

    Args:
        etas: η_l, one per step.
        gammas: γ_l, one per step.

    Raises:
        ValueError: There are not as many γ as η.

    Source: von Oswald et al. (2023), section 3 and appendix A.10.
    """

    family: ClassVar[str] = "GD++"
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
