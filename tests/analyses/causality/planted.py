"""Models of which it is known what they hold and use."""

import torch

from mesascope.analyses import Scope, attach
from mesascope.models import (
    FilterLearner,
    LinearRegression,
    Newton,
    ScheduledGradientDescent,
    descend_on_weights,
    gradient_descent,
    newton,
    regauge,
)

TASK = LinearRegression(n_dims=3, n_points=16)
ETAS = (0.5, 0.5, 0.5)
ALPHA = 1e-3
FEW = dict(n_prompts=600, n_pairs=80)


def holds_w() -> tuple[Scope, FilterLearner]:
    """Three steps on w in scratch tokens, in a random gauge: five layers."""
    model = regauge(descend_on_weights(3, 16, ETAS, dtype=torch.float64), seed=1)
    return attach(model, task=TASK), ScheduledGradientDescent(ETAS)


def holds_residuals() -> tuple[Scope, FilterLearner]:
    """The same predictions in the examples' tokens, which hold y − w·x and never w."""
    return attach(gradient_descent(3, 16, ETAS, dtype=torch.float64), task=TASK), ScheduledGradientDescent(ETAS)


def holds_inverse() -> tuple[Scope, FilterLearner]:
    """Two steps of Newton's method in scratch tokens, which hold S, b and M, and never w: four layers."""
    return attach(newton(3, 16, 2, ALPHA, form="scratch", dtype=torch.float64), task=TASK), Newton(2, ALPHA)
