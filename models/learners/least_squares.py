"""Ordinary least squares and ridge regression."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.models.learners.base import FilterLearner, Sweep

if TYPE_CHECKING:
    from mesascope.models.tasks.base import Regression


@dataclass(frozen=True, repr=False)
class LeastSquares(FilterLearner):
    """w = S⁺ b, the minimum-norm solution while the points do not determine w; g(λ) = 1 for λ > 0."""

    family: ClassVar[str] = "least squares"
    n_steps: int = field(default=0, init=False)

    @property
    def label(self) -> str:
        """It has no scalars."""
        return "least squares"

    @classmethod
    def sweeps(cls, task: "Regression") -> tuple[Sweep, ...]:
        """It alone."""
        return (Sweep(cls()),)

    def multiplier(
        self, eigenvalues: Float[Tensor, "... n_dims"], counts: Float[Tensor, "..."], steps: Sequence[int]
    ) -> list[Float[Tensor, "... n_dims"]]:
        """1/λ inside the span of the points, 0 outside."""
        inside = eigenvalues > 0
        return [inside / eigenvalues.where(inside, 1.0)] * len(steps)


@dataclass(frozen=True, repr=False)
class Ridge(FilterLearner):
    """w = (S + rI)⁻¹ b; g(λ) = λ/(λ+r).

    Args:
        penalty: r, on the unnormalised Gram matrix; Bayes-optimal at (noise_std/w_std)².
    """

    family: ClassVar[str] = "ridge"
    scalars: ClassVar[tuple[str, ...]] = ("penalty",)
    limits: ClassVar[tuple[str, ...]] = ("least squares",)
    n_steps: int = field(default=0, init=False)
    penalty: float

    def __post_init__(self) -> None:
        if not self.penalty > 0:
            raise ValueError(f"Ridge(penalty={self.penalty}): expected penalty > 0; use LeastSquares for 0")

    @property
    def label(self) -> str:
        """The penalty."""
        return f"ridge r={self.penalty:.3g}"

    @property
    def strength(self) -> dict[str, float]:
        """The penalty."""
        return {"r": self.penalty}

    @classmethod
    def sweeps(cls, task: "Regression") -> tuple[Sweep, ...]:
        """16 penalties."""
        return tuple(Sweep(cls(r * task.inputs.mean_square)) for r in torch.logspace(-2, 2, 16).tolist())

    def multiplier(
        self, eigenvalues: Float[Tensor, "... n_dims"], counts: Float[Tensor, "..."], steps: Sequence[int]
    ) -> list[Float[Tensor, "... n_dims"]]:
        """1/(λ+r)."""
        return [1 / (eigenvalues + self.penalty)] * len(steps)
