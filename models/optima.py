"""Closed-form optima of one layer: what the best single step is, and what it reaches."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.models.inputs import Gaussian, Uniform
from mesascope.models.spectra import Isotropic
from mesascope.models.tasks import LinearRegression


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
        v, m = task.inputs.scale**2, 3 * task.inputs.scale**4
    else:
        raise ValueError(f"no closed form for inputs {task.inputs}; expected isotropic Gaussian or uniform x")
    curvature = (m + (d - 1) * v**2 + (n - 1) * v**2 + v * (task.noise_std / task.w_std) ** 2) / n
    eta = v / curvature
    return OptimalStep(eta, task.w_std**2 * v * d * (1 - eta * v) + task.noise_std**2)


def optimal_preconditioner(task: LinearRegression) -> Float[Tensor, "n_dims n_dims"]:
    """A of the best single preconditioned step ŵ = A Xᵀy/n from all points but the last, in closed form.

    For x ~ N(0, U diag(λ) Uᵀ), the same for every prompt, and w ~ N(0, w_std² I) it is U diag(a) Uᵀ with
    a_i = 1/((n+1)/n λ_i + (Σλ + noise_std²/w_std²)/n).

    Raises:
        MesascopeError: The covariance is drawn anew for every prompt.
        ValueError: x is not Gaussian, or there is no context.

    Source: Ahn et al. (2023), theorem 1, and Mahankali et al. (2023), theorem 4 (noise).
    """
    n = task.n_points - 1
    if n < 1:
        raise ValueError(f"n_points={task.n_points} leaves no context; expected at least 2, the last is the query")
    if not isinstance(task.inputs, Gaussian):
        raise ValueError(f"no closed form for inputs {task.inputs}; expected Gaussian x")
    eigenvalues, U = torch.linalg.eigh(task.inputs.covariance(task.n_dims))
    spread = (eigenvalues.sum() + (task.noise_std / task.w_std) ** 2) / n
    return (U / ((n + 1) / n * eigenvalues + spread)) @ U.T
