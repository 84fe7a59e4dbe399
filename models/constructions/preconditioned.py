"""Preconditioned gradient descent in linear self-attention, and the best single step of it."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.models.constructions.arguments import Weights, at_least, context_points
from mesascope.models.constructions.assembly import Head
from mesascope.models.constructions.descent import descend
from mesascope.models.constructions.residual_stream import ResidualStream
from mesascope.models.errors import MesascopeError
from mesascope.models.optima import optimal_preconditioner
from mesascope.models.regressor import HookedRegressor
from mesascope.models.tasks import LinearRegression

Matrix = Float[Tensor, "n_dims n_dims"]


def preconditioned_gradient_descent(
    n_points: int,
    preconditioners: Matrix | Sequence[Matrix],
    *,
    w0: Weights | None = None,
    d_out: int = 1,
    dtype: torch.dtype = torch.float32,
) -> HookedRegressor:
    """Linear self-attention with a step w ← w − (A_l/n) Σ_j (w·x_j − y_j) x_j a layer, over the n points of context.

    As `gradient_descent`, with W_Q W_Kᵀ = diag(A_l, 0) in place of η: a query scores x_qᵀ A_l x_j, where A_l need not
    be symmetric.

    Args:
        n_points: Points of a prompt, the query included; see `gradient_descent`.
        preconditioners: A_l, one per layer; a matrix is one step.
        w0: Where to start, zero by default; a row for each output if there are several.
        d_out: How many outputs y has.
        dtype: Of the weights.

    Raises:
        MesascopeError: There is no step, context or output, a matrix is not square and finite or not of the first
            one's size, or w0 is of another shape.

    Source: Ahn et al. (2023), section 4.
    """
    at_least(1, d_out=d_out)
    matrices = [preconditioners] if isinstance(preconditioners, Tensor) else list(preconditioners)
    shapes, n_dims = [tuple(A.shape) for A in matrices], len(matrices[0]) if matrices else 0
    if not n_dims or set(shapes) != {(n_dims, n_dims)} or not all(A.isfinite().all() for A in matrices):
        raise MesascopeError(
            f"preconditioners of shapes {shapes}: expected square matrices of one size, all finite, one for each step"
        )
    n, h = context_points(n_points), ResidualStream(x=n_dims, y=d_out)
    update = -(1 / n) * h.copy("y", to="y")
    heads = [Head(h.match("x", "x", by=A.detach().double().cpu()), update) for A in matrices]
    return descend(n_points, heads, h, w0, dtype)


def optimal_preconditioned_step(task: LinearRegression, *, dtype: torch.dtype = torch.float32) -> HookedRegressor:
    """The global minimum of one layer of linear self-attention on a task: one step with `optimal_preconditioner(task)`.

    Args:
        task: Linear regression on Gaussian x of one covariance; another prior on w has another optimum.
        dtype: Of the weights.

    Raises:
        MesascopeError: The covariance is drawn anew for every prompt.
        ValueError: x is not Gaussian, or there is no context.

    Source: Ahn et al. (2023), theorem 1, and Mahankali et al. (2023), theorems 1 and 4.
    """
    return preconditioned_gradient_descent(task.n_points, optimal_preconditioner(task), dtype=dtype)
