"""Gradient descent with momentum."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from scipy.special import expit, logit
from torch import Tensor

from mesascope.models.learners.base import FilterLearner, Sweep
from mesascope.models.learners.steps import at_steps

if TYPE_CHECKING:
    from mesascope.models.tasks.base import Regression

STEPS = (2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64)
"""Step counts that a model is held against; a single step is gradient descent's."""


@dataclass(frozen=True, repr=False)
class Momentum(FilterLearner):
    """The heavy ball: w_{k+1} = w_k − η (S w_k − b)/t + β (w_k − w_{k−1}) from w_0 = w_{−1} = 0.

    Its residual r_k = 1 − g obeys r_{k+1} = (1 + β − ηλ) r_k − β r_{k−1} with λ of S/t. For β > 0 all roots of r_k are
    real, so that k steps of gradient descent of different sizes do the same.

    Args:
        n_steps: k.
        eta: η.
        beta: β, between 0 and 1.

    Raises:
        ValueError: A scalar is out of its range.

    Source: Polyak (1964).
    """

    family: ClassVar[str] = "momentum"
    limits: ClassVar[tuple[str, ...]] = ("GD", "averaging", "least squares")
    any_steps: ClassVar[bool] = True
    max_steps: ClassVar[int] = STEPS[-1]
    eta: float
    beta: float

    def __post_init__(self) -> None:
        if self.n_steps < 0 or not self.eta > 0 or not 0 < self.beta < 1:
            raise ValueError(
                f"Momentum(n_steps={self.n_steps}, eta={self.eta}, beta={self.beta}): expected n_steps >= 0, eta > 0 "
                "and 0 < beta < 1; use GradientDescent for 0"
            )

    @property
    def label(self) -> str:
        """Steps, step size and momentum."""
        return f"momentum k={self.n_steps} η={self.eta:.3g} β={self.beta:.3g}"

    def parameters(self) -> np.ndarray:
        """The logarithm of η and the logit of β."""
        return np.array([np.log(self.eta), logit(self.beta)])

    def with_parameters(self, values: np.ndarray) -> "Momentum":
        """The same number of steps with other scalars."""
        log_eta, logit_beta = np.clip(values, [-700, -30], [700, 30])  # beyond, floats are 0, 1 or ∞
        return replace(self, eta=float(np.exp(log_eta)), beta=float(expit(logit_beta)))

    @property
    def strength(self) -> dict[str, float]:
        """τ = ηk/(1−β): what gradient descent would need, once the ball rolls."""
        return {"τ": self.eta * self.n_steps / (1 - self.beta)}

    @classmethod
    def sweeps(cls, task: "Regression") -> tuple[Sweep, ...]:
        """`STEPS` with six step sizes and six β."""
        etas = torch.logspace(-1.5, 0.25, 6).tolist()
        unit = 1 / task.inputs.mean_square
        betas = (0.1, 0.3, 0.5, 0.7, 0.85, 0.95)
        return tuple(Sweep(cls(STEPS[-1], unit * eta, beta), STEPS) for eta in etas for beta in betas)

    def multiplier(
        self, eigenvalues: Float[Tensor, "... n_dims"], counts: Float[Tensor, "..."], steps: Sequence[int]
    ) -> list[Float[Tensor, "... n_dims"]]:
        """m(λ) by the recursion of w itself, which divides nothing by λ."""
        scale = counts.clamp(min=1.0)
        return [m / scale for m in at_steps(self._iterates(eigenvalues / scale), steps)]

    def _iterates(self, eigenvalues: Float[Tensor, "*shape"]) -> Iterator[Float[Tensor, "*shape"]]:
        before = m = torch.zeros_like(eigenvalues)
        while True:
            yield m
            before, m = m, m + self.eta * (1 - eigenvalues * m) + self.beta * (m - before)
