"""Gradient descent on the squared loss, and the step size that is best for one step of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.models.inputs import Gaussian, Uniform
from mesascope.models.learners.base import FilterLearner
from mesascope.models.spectra import Isotropic
from mesascope.models.tasks import LinearRegression


@dataclass(frozen=True, repr=False)
class GradientDescent(FilterLearner):
    """w ← w − η (S w − b) from w = 0; g(λ) = 1 − (1−ηλ)^k.

    With loss="mean" (the default) it steps on S/t and b/t, with loss="sum" on S and b, as Fu et al. (2024) publish it.
    Nothing stops a step size above 2/λ_max: the iterates then grow, as they would.

    Args:
        n_steps: k.
        eta: η.
        loss: Normalisation of the squared loss.

    Source: Fu et al. (2024), section 2.2 and its code.
    """

    family: ClassVar[str] = "GD"
    scalar: ClassVar[str | None] = "eta"
    eta: float
    loss: Literal["mean", "sum"] = "mean"

    def __post_init__(self) -> None:
        if self.n_steps < 0 or not self.eta > 0 or self.loss not in ("mean", "sum"):
            raise ValueError(
                f"GradientDescent(n_steps={self.n_steps}, eta={self.eta}, loss={self.loss!r}): expected n_steps >= 0, "
                "eta > 0 and loss 'mean' or 'sum'"
            )

    @property
    def label(self) -> str:
        """Steps and step size."""
        return f"GD k={self.n_steps} η={self.eta:.3g} ({self.loss} loss)"

    def multiplier(
        self, eigenvalues: Float[Tensor, "... n_dims"], counts: Float[Tensor, "..."], steps: Sequence[int]
    ) -> list[Float[Tensor, "... n_dims"]]:
        """m(λ) = (1 − (1−ηλ)^k)/λ, continued by kη at λ = 0."""
        scale = counts.clamp(min=1.0) if self.loss == "mean" else torch.ones_like(counts)
        product = self.eta * eigenvalues / scale
        small, zero = product < 0.5, product == 0
        # expm1 and log1p keep the digits that 1 − (1−ηλ)^k loses for small ηλ; above 1 the base is negative.
        log_base = torch.log1p(-product.where(small, 0.0))
        safe = product.where(~zero, 1.0)
        out = []
        for k in steps:
            recovered = torch.where(small, -torch.expm1(k * log_base), 1 - (1 - product) ** k)
            out.append(torch.where(zero, float(k), recovered / safe) * (self.eta / scale))
        return out


@dataclass(frozen=True)
class OptimalStep:
    """The best single gradient step on a task, and what it reaches."""

    eta: float
    """Step size on the mean loss."""
    mse: float
    """E (y − ŷ)² at the query, noise included."""


def optimal_step(task: LinearRegression) -> OptimalStep:
    """The step size that minimises the error of one GD step from all points but the last, in closed form.

    With independent coordinates of variance v and fourth moment m, n context points and ŵ = (η/n) Xᵀy:

        E|ŵ − w|²/w_std² = d − 2ηdv + η²d (m + (d−1)v² + (n−1)v² + v·noise_std²/w_std²)/n

    For x ~ N(0, I) without noise this is d(d+1)/(n+d+1) at η = n/(n+d+1).

    Raises:
        ValueError: The coordinates of x are not independent and identical, so that there is no such closed form, or
            there is no context.

    Source: von Oswald et al. (2023), section 3 (by line search there); Mahankali et al. (2023), theorem 1 (Gaussian).
    """
    d, n = task.n_dims, task.n_points - 1
    if n < 1:
        raise ValueError(f"n_points={task.n_points} leaves no context; expected at least 2, the last is the query")
    if isinstance(task.inputs, Uniform):
        v, m = task.inputs.half_width**2 / 3, task.inputs.half_width**4 / 5
    elif isinstance(task.inputs, Gaussian) and isinstance(task.inputs.spectrum, Isotropic):
        v, m = 1.0, 3.0
    else:
        raise ValueError(f"no closed form for inputs {task.inputs}; expected isotropic Gaussian or uniform x")
    curvature = (m + (d - 1) * v**2 + (n - 1) * v**2 + v * (task.noise_std / task.w_std) ** 2) / n
    eta = v / curvature
    return OptimalStep(eta, task.w_std**2 * v * d * (1 - eta * v) + task.noise_std**2)
