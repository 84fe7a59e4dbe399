"""In-context regression on random two-layer networks."""

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Generator

from mesascope.models.learners.base import Learner
from mesascope.models.learners.estimators import TwoLayerNet
from mesascope.models.learners.least_squares import LeastSquares
from mesascope.models.learners.nearest_neighbours import NearestNeighbours
from mesascope.models.tasks.base import Function, Regression


class ReluNetwork(Regression):
    """y_i = w_std·√(2/width) W2·relu(W1 x_i) + noise_std·ε_i, all entries of W1 and W2 N(0, 1).

    The factor gives y the variance of linear regression. Half of that is linear in x (relu z = z/2 + |z|/2), so least
    squares can explain half and no more.

    Source: Garg et al. (2022), section 5 (width 100).
    """

    name: Literal["relu_network"] = "relu_network"
    width: int = Field(100, ge=1)

    def function(self, n_prompts: int, rng: Generator) -> Function:
        """The map x ↦ w_std·√(2/width) W2·relu(W1 x)."""
        W1 = torch.randn(n_prompts, self.n_dims, self.width, generator=rng, device=rng.device, dtype=torch.float64)
        W2 = torch.randn(n_prompts, self.width, generator=rng, device=rng.device, dtype=torch.float64)
        W2 = W2 * (self.w_std * math.sqrt(2 / self.width))
        return Function(lambda xs: torch.einsum("bnh,bh->bn", (xs @ W1).relu(), W2))

    @property
    def null_loss(self) -> float:
        """E y²: half of W1 x is cut away, which the factor 2 makes up for."""
        return self.w_std**2 * self.n_dims * self.inputs.mean_square + self.noise_std**2

    def references(self) -> tuple[Learner, ...]:
        """The same network trained on the examples; least squares; three nearest neighbours."""
        return (TwoLayerNet(self.width), LeastSquares(), NearestNeighbours(3))
