"""Least squares on a fixed feature map."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.models.errors import nearest
from mesascope.models.learners.base import Learner
from mesascope.models.learners.least_squares import LeastSquares
from mesascope.models.prompts import Prompts

FEATURES: dict[str, Callable[[Tensor], Tensor]] = {
    "quadratic": lambda xs: xs.square(),
    "fourier": lambda xs: torch.cat([xs.sin(), xs.cos()], dim=-1),
}
"""The feature maps by name: x_i² of every coordinate; sin x_i and cos x_i of every coordinate."""


@dataclass(frozen=True, repr=False)
class FeatureLeastSquares(Learner):
    """Minimum-norm least squares of y on φ(x); the learner for functions that are linear in known features.

    Args:
        features: Which φ, see `FEATURES`.
    """

    family: ClassVar[str] = "least squares on features"
    features: str

    def __post_init__(self) -> None:
        if self.features not in FEATURES:
            raise ValueError(
                f"FeatureLeastSquares(features={self.features!r}): expected a known feature map"
                f"{nearest(self.features, FEATURES)}"
            )

    @property
    def label(self) -> str:
        """The feature map."""
        return f"least squares on {self.features} features"

    def predict(self, prompts: Prompts) -> Float[Tensor, "batch n_points"]:
        """Predictions at every point, float64."""
        return LeastSquares().predict(Prompts(FEATURES[self.features](prompts.xs.double()), prompts.ys))
