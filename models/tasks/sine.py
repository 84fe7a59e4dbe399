"""In-context regression on sine waves."""

import math
from typing import Any, Literal

import numpy as np
import torch
from pydantic import model_validator
from torch import Generator

from mesascope.models.inputs import Gaussian, Inputs, Mixture, Uniform
from mesascope.models.learners.base import Learner
from mesascope.models.learners.features import FeatureLeastSquares
from mesascope.models.learners.nearest_neighbours import NearestNeighbours
from mesascope.models.tasks.base import Function, Regression, sampled_null_loss


class Sine(Regression):
    """y_i = w_std·a·sin(x_i + p) + noise_std·ε_i, a and p uniform in their intervals, one pair per prompt.

    Source: von Oswald et al. (2023), section 4; departures: a and p are independent, while its code draws both from
    one key, so that they are perfectly correlated (`correlated=True`); w_std scales y alone, there the phase too.
    """

    name: Literal["sine"] = "sine"
    n_dims: Literal[1] = 1
    inputs: Inputs = Uniform(half_width=5)
    amplitude: tuple[float, float] = (0.1, 0.5)
    phase: tuple[float, float] = (0.0, math.pi)
    correlated: bool = False
    """One uniform number places both a and p in their intervals."""

    @model_validator(mode="after")
    def _intervals_ascend(self) -> "Sine":
        for field, (low, high) in (("amplitude", self.amplitude), ("phase", self.phase)):
            if low > high:
                raise ValueError(f"{field}=({low:g}, {high:g}): expected an interval (low, high) with low <= high")
        return self

    def function(self, n_prompts: int, rng: Generator) -> Function:
        """The map x ↦ w_std·a·sin(x + p)."""
        u = torch.rand(n_prompts, 2, generator=rng, device=rng.device, dtype=torch.float64)
        a = _place(u[:, :1], self.amplitude)
        p = _place(u[:, :1] if self.correlated else u[:, 1:], self.phase)
        return Function(lambda xs: self.w_std * a * torch.sin(xs[..., 0] + p))

    @property
    def null_loss(self) -> float:
        """E y² = w_std² E a² (1 − cos(2x + 2p))/2 + noise_std²; sampled where x is neither uniform nor Gaussian.

        For symmetric x, E cos(2x + 2p) = E cos(2x) · cos(2p). The integrals over a and p are Gauss-Legendre sums,
        exact to rounding for phases within a few dozen turns.
        """
        cosine = _mean_cosine(self.inputs)
        if cosine is None:
            return sampled_null_loss(self)
        nodes, weights = np.polynomial.legendre.leggauss(200)
        u, weights = (nodes + 1) / 2, weights / 2
        squares, turned = _place(u, self.amplitude) ** 2, np.cos(2 * _place(u, self.phase))
        mean_square = weights @ squares
        together = weights @ (squares * turned) if self.correlated else mean_square * (weights @ turned)
        return float(self.w_std**2 * (mean_square - cosine * together) / 2 + self.noise_std**2)

    @property
    def late(self) -> int:
        """A few points more than a and p."""
        return 5

    def references(self) -> tuple[Learner, ...]:
        """Least squares on sin x and cos x, since a·sin(x+p) is linear in them; the nearest neighbour."""
        return (FeatureLeastSquares("fourier"), NearestNeighbours(1))


def _place(u: Any, interval: tuple[float, float]) -> Any:
    """A tensor or an array from (0, 1) in an interval."""
    low, high = interval
    return low + (high - low) * u


def _mean_cosine(inputs: Inputs) -> float | None:
    """E cos(2x) for x in one dimension, where it has a closed form: there every spectrum is the number 1."""
    if isinstance(inputs, Uniform):
        return math.sin(2 * inputs.half_width) / (2 * inputs.half_width)
    if isinstance(inputs, Gaussian):
        return math.exp(-2 * inputs.scale**2)
    if isinstance(inputs, Mixture):
        parts = [_mean_cosine(part) for part in inputs.components]
        return math.fsum(part for part in parts if part is not None) / len(parts)
    return None
