"""In-context sparse linear regression: few of the coordinates matter."""

from typing import ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Generator

from mesascope.models.learners.base import Learner
from mesascope.models.learners.estimators import Lasso
from mesascope.models.learners.least_squares import LeastSquares
from mesascope.models.tasks.base import Function, Regression

PENALTY = 0.01
"""The best of .001 … .3 for d=20, n=41 without noise; with noise_std=.3 three times as much is 2% better."""


class SparseLinearRegression(Regression):
    """y_i = w·x_i + noise_std·ε_i, where `sparsity` random coordinates of w are N(0, w_std²) and the rest zero.

    Source: Garg et al. (2022), section 5; departure: in a curriculum the coordinates that matter are drawn from all of
    them, not from the active ones, so that w·x may be zero.
    """

    name: Literal["sparse_linear_regression"] = "sparse_linear_regression"
    linear: ClassVar[bool] = True
    sparsity: int = Field(3, ge=1)

    @model_validator(mode="after")
    def _sparsity_fits(self) -> "SparseLinearRegression":
        if self.sparsity > self.n_dims:
            raise ValueError(f"sparsity={self.sparsity} but n_dims={self.n_dims}; expected sparsity <= n_dims")
        return self

    def function(self, n_prompts: int, rng: Generator) -> Function:
        """The map x ↦ w·x."""
        shape = (n_prompts, self.n_dims)
        w = self.w_std * torch.randn(shape, generator=rng, device=rng.device, dtype=torch.float64)
        ranks = torch.rand(shape, generator=rng, device=rng.device, dtype=torch.float64).argsort(-1).argsort(-1)
        w = w.where(ranks < self.sparsity, 0.0)
        return Function(lambda xs: torch.einsum("bnd,bd->bn", xs, w), w)

    @property
    def null_loss(self) -> float:
        """E y²."""
        return self.w_std**2 * self.sparsity * self.inputs.mean_square + self.noise_std**2

    @property
    def late(self) -> int:
        """Fewer than w has coordinates are enough for those who know that it is sparse."""
        return min(2 * self.sparsity + 2, self.n_dims + 3)

    def references(self) -> tuple[Learner, ...]:
        """Lasso, its penalty in units of E x² · w_std, and least squares, which does not know that w is sparse."""
        return (Lasso(PENALTY * self.inputs.mean_square * self.w_std), LeastSquares())
