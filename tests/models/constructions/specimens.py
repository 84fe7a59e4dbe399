"""One small construction of each kind, with prompts that it can read and what it is to predict there."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mesascope.models import (
    GradientDescent,
    GradientDescentPlusPlus,
    HookedRegressor,
    Learner,
    LinearRegression,
    Newton,
    PreconditionedGradientDescent,
    Prompts,
    RepeatedSequence,
    ScheduledGradientDescent,
    Task,
    copy_then_descend,
    descend_on_weights,
    gd_plus_plus,
    gradient_descent,
    induction,
    newton,
    optimal_preconditioned_step,
    optimal_preconditioner,
    preconditioned_gradient_descent,
)
from mesascope.models.attention import Attention
from mesascope.models.inputs import Gaussian
from mesascope.models.spectra import Geometric

REGRESSION = LinearRegression(n_dims=4, n_points=9)
ANISOTROPIC = LinearRegression(n_dims=4, n_points=9, inputs=Gaussian(spectrum=Geometric(kappa=5), basis="fixed"))
SEQUENCE = RepeatedSequence(n_dims=5, n_points=12, period=4)
A = torch.tensor([[0.5, 0.1, 0, 0], [0, 0.3, 0, 0.2], [0, 0, 0.4, 0], [0.1, 0, 0, 0.2]], dtype=torch.float64)
W0 = torch.tensor([0.5, -1.0, 0.25, 2.0], dtype=torch.float64)
ALPHA = 1e-3


def from_w0(learner: Learner, prompts: Prompts) -> Tensor:
    """A learner run on what w0 leaves of y, in float64."""
    left = Prompts(prompts.xs, prompts.ys - prompts.xs @ W0)
    return learner.predict(left)[:, -1:] + prompts.xs[:, -1:] @ W0


def counts(prompts: Prompts) -> Tensor:
    """How often each token followed the present one before, a pair at a time."""
    out = torch.zeros_like(prompts.xs)
    for t in range(prompts.n_points):
        for s in range(1, t + 1):
            out[:, t] += prompts.xs[:, s] * (prompts.xs[:, s - 1] * prompts.xs[:, t]).sum(-1, keepdim=True)
    return out


def products(attention: Attention) -> tuple[Tensor, Tensor]:
    """W_Q W_Kᵀ and W_V W_O of each head."""
    return attention.W_Q @ attention.W_K.mT, attention.W_V @ attention.W_O


@dataclass(frozen=True)
class Specimen:
    build: Callable[[torch.dtype], HookedRegressor]
    expected: Callable[[Prompts], Tensor]
    task: Task = REGRESSION

    def prompts(self, n_prompts=20, dtype=torch.float64):
        return self.task.sample(n_prompts, seed=0, dtype=dtype)


def _of(build: Callable[[torch.dtype], HookedRegressor], learner: Learner, task: Task = REGRESSION) -> Specimen:
    return Specimen(build, lambda prompts: learner.predict(prompts)[:, -1:], task)


SPECIMENS = {
    "gradient descent": _of(
        lambda d: gradient_descent(4, 9, [0.3, 0.2], dtype=d), ScheduledGradientDescent((0.3, 0.2))
    ),
    "gradient descent from w0": Specimen(
        lambda d: gradient_descent(4, 9, [0.3, 0.2], w0=W0, dtype=d),
        lambda prompts: from_w0(ScheduledGradientDescent((0.3, 0.2)), prompts),
    ),
    "GD++": _of(
        lambda d: gd_plus_plus(4, 9, [0.3, 0.2], [0.1, 0.2], dtype=d),
        GradientDescentPlusPlus((0.3, 0.2), (0.1, 0.2)),
    ),
    "GD++ from w0": Specimen(
        lambda d: gd_plus_plus(4, 9, [0.3, 0.2], [0.1, 0.2], w0=W0, dtype=d),
        lambda prompts: from_w0(GradientDescentPlusPlus((0.3, 0.2), (0.1, 0.2)), prompts),
    ),
    "preconditioned": _of(
        lambda d: preconditioned_gradient_descent(9, [A, A], dtype=d), PreconditionedGradientDescent.of(2, A)
    ),
    "optimal step": _of(
        lambda d: optimal_preconditioned_step(ANISOTROPIC, dtype=d),
        PreconditionedGradientDescent.of(1, optimal_preconditioner(ANISOTROPIC)),
        ANISOTROPIC,
    ),
    "newton, mlp": _of(lambda d: newton(4, 9, 3, ALPHA, dtype=d), Newton(3, ALPHA)),
    "newton, attention only": _of(lambda d: newton(4, 9, 3, ALPHA, "attention_only", dtype=d), Newton(3, ALPHA)),
    "newton, relu": _of(lambda d: newton(4, 9, 3, ALPHA, "relu", dtype=d), Newton(3, ALPHA)),
    "newton, scratch": _of(lambda d: newton(4, 9, 3, ALPHA, "scratch", dtype=d), Newton(3, ALPHA)),
    "descent on w": _of(lambda d: descend_on_weights(4, 9, [0.3, 0.2], dtype=d), ScheduledGradientDescent((0.3, 0.2))),
    "copy then descend": _of(lambda d: copy_then_descend(4, 9, 0.6, dtype=d), GradientDescent(1, 0.6)),
    "induction": Specimen(lambda d: induction(5, 12, 2.0, dtype=d), lambda prompts: 2.0 * counts(prompts), SEQUENCE),
}
