"""In-context classification by a random hyperplane."""

import math
from dataclasses import replace
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor

from mesascope.models.learners.base import Learner
from mesascope.models.learners.estimators import LogisticRegression
from mesascope.models.learners.least_squares import LeastSquares
from mesascope.models.prompts import Prompts
from mesascope.models.tasks.base import Function, Regression

LOGIT_VARIANCE = 50.0
"""Prior variance of the logit that does best without noise: 50 of 5 … 5000 for d=5, n=20; 20 to 60 for d=20, n=41."""


class LinearClassification(Regression):
    """y_i = ±1, the sign of w·x_i + noise_std·ε_i, w ~ N(0, w_std² I); a prediction is the logit of y = 1.

    So noise flips labels, mostly those near the hyperplane (a probit model), and without noise w_std changes nothing.

    Source: Garg et al. (2022), its code (without noise).
    """

    name: Literal["linear_classification"] = "linear_classification"
    scales_with_w: ClassVar[bool] = False

    def function(self, n_prompts: int, rng: Generator) -> Function:
        """The map x ↦ w·x, of which `draw` takes the sign."""
        w = self.w_std * torch.randn(n_prompts, self.n_dims, generator=rng, device=rng.device, dtype=torch.float64)
        return Function(lambda xs: torch.einsum("bnd,bd->bn", xs, w), w)

    def draw(self, n_prompts: int, rng: Generator, n_active: int) -> Prompts:
        """Draw regression prompts and keep the signs."""
        prompts = super().draw(n_prompts, rng, n_active)
        return replace(prompts, ys=1 - 2 * (prompts.ys < 0).double())  # never 0, as sign(0) would be

    def loss(self, preds: Float[Tensor, "..."], ys: Float[Tensor, "*points"]) -> Float[Tensor, "*points"]:
        """Logistic loss −log σ(y·pred), in nats."""
        return F.softplus(-ys * preds)

    @property
    def null_loss(self) -> float:
        """Of a coin, which a logit of zero is: log 2."""
        return math.log(2)

    @property
    def late(self) -> int:
        """A few points more than w has unknowns."""
        return self.n_dims + 3

    def references(self) -> tuple[Learner, ...]:
        """Logistic regression; least squares, whose logits stay within about ±1.

        With noise the labels' true logit is 1.7 w·x/noise_std to a percent, so the prior follows from w_std. Without
        noise it is infinite, and what a finite prior stands for is how little of w the examples tell.
        """
        prior_variance = LOGIT_VARIANCE / (self.n_dims * self.inputs.mean_square)
        if self.noise_std > 0:
            prior_variance = min(prior_variance, (1.7 * self.w_std / self.noise_std) ** 2)
        return (LogisticRegression(prior_variance), LeastSquares())
