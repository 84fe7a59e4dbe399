"""In-context regression that is linear in the squares of the coordinates."""

import math
from typing import Literal

import torch
from torch import Generator

from mesascope.models.inputs import Gaussian, Inputs, Mixture, Uniform
from mesascope.models.learners.base import Learner
from mesascope.models.learners.features import FeatureLeastSquares
from mesascope.models.learners.least_squares import LeastSquares
from mesascope.models.spectra import Isotropic
from mesascope.models.tasks.base import Function, Regression, sampled_null_loss


class QuadraticRegression(Regression):
    """y_i = Σ_j w_j x_ij² / √3 + noise_std·ε_i, w ~ N(0, w_std² I).

    With x ~ N(0, I) the factor gives y the variance of linear regression.

    Source: Garg et al. (2022), its code.
    """

    name: Literal["quadratic_regression"] = "quadratic_regression"

    def function(self, n_prompts: int, rng: Generator) -> Function:
        """The map x ↦ w·x²/√3; not linear in x, so w is not among the prompts' weights."""
        w = self.w_std * torch.randn(n_prompts, self.n_dims, generator=rng, device=rng.device, dtype=torch.float64)
        return Function(lambda xs: torch.einsum("bnd,bd->bn", xs.square(), w) / math.sqrt(3))

    @property
    def null_loss(self) -> float:
        """E y²; sampled where E x_i⁴ has no closed form."""
        fourth = fourth_moment(self.inputs)
        if fourth is None:
            return sampled_null_loss(self)
        return self.w_std**2 * self.n_dims * fourth / 3 + self.noise_std**2

    @property
    def late(self) -> int:
        """A few points more than w has unknowns."""
        return self.n_dims + 3

    def references(self) -> tuple[Learner, ...]:
        """Least squares on the squares, and on x, which cannot see them."""
        return (FeatureLeastSquares("quadratic"), LeastSquares())


def fourth_moment(inputs: Inputs) -> float | None:
    """E x_i⁴, where all coordinates have the same and it has a closed form."""
    if isinstance(inputs, Uniform):
        return inputs.half_width**4 / 5
    if isinstance(inputs, Gaussian) and isinstance(inputs.spectrum, Isotropic):
        return 3 * inputs.scale**4
    if isinstance(inputs, Mixture):
        parts = [fourth_moment(part) for part in inputs.components]
        known = [part for part in parts if part is not None]
        return math.fsum(known) / len(parts) if len(known) == len(parts) else None
    return None
