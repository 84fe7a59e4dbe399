"""In-context linear regression: one weight vector per prompt."""

from typing import ClassVar, Literal

import torch
from torch import Generator

from mesascope.models.learners.base import Learner
from mesascope.models.learners.least_squares import LeastSquares, Ridge
from mesascope.models.tasks.base import Function, Regression


class LinearRegression(Regression):
    """y_i = w·x_i + noise_std·ε_i, w ~ N(0, w_std² I), one w per prompt.

    Source: Garg et al. (2022), section 3 (isotropic); von Oswald et al. (2023), section 3 (uniform x);
    Fu et al. (2024), section 4.3 (other spectra).
    """

    name: Literal["linear_regression"] = "linear_regression"
    linear: ClassVar[bool] = True

    def function(self, n_prompts: int, rng: Generator) -> Function:
        """The map x ↦ w·x."""
        w = self.w_std * torch.randn(n_prompts, self.n_dims, generator=rng, device=rng.device, dtype=torch.float64)
        return Function(lambda xs: torch.einsum("bnd,bd->bn", xs, w), w)

    @property
    def null_loss(self) -> float:
        """E y²."""
        return self.w_std**2 * self.n_dims * self.inputs.mean_square + self.noise_std**2

    @property
    def late(self) -> int:
        """A few points more than w has unknowns."""
        return self.n_dims + 3

    def references(self) -> tuple[Learner, ...]:
        """Bayes-optimal ridge with noise, least squares without."""
        if self.noise_std == 0:
            return (LeastSquares(),)
        return (Ridge((self.noise_std / self.w_std) ** 2), LeastSquares())
