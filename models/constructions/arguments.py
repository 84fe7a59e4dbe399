"""What the constructions are asked for, checked: sizes, scalars and starting weights."""

import math
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from mesascope.models.errors import MesascopeError

Weights = Float[Tensor, "*d_out n_dims"]
"""A weight vector, or one for each output."""


def at_least(least: int, **sizes: int) -> None:
    """Sizes that are large enough.

    Raises:
        MesascopeError: One is not.
    """
    for name, size in sizes.items():
        if size < least:
            raise MesascopeError(f"{name}={size}: expected at least {least}")


def context_points(n_points: int) -> int:
    """n, the number of points before the query.

    Raises:
        MesascopeError: There is none.
    """
    if n_points < 2:
        raise MesascopeError(f"n_points={n_points} leaves no context; expected at least 2, the last is the query")
    return n_points - 1


def per_step(name: str, values: float | Sequence[float]) -> tuple[float, ...]:
    """A number for each step; one number is one step.

    Raises:
        MesascopeError: There is none, or one is not finite.
    """
    steps = tuple(values) if isinstance(values, Sequence) else (values,)
    if not steps or not all(map(math.isfinite, steps)):
        raise MesascopeError(f"{name}={steps}: expected finite numbers, one for each step")
    return steps


def starting_weights(w0: Weights, n_dims: int, d_out: int) -> Float[Tensor, "d_out n_dims"]:
    """w0 with a row for each output, float64.

    Raises:
        MesascopeError: It has another shape, or is not finite.
    """
    expected = (n_dims,) if d_out == 1 else (d_out, n_dims)
    if w0.shape != expected or not w0.isfinite().all():
        raise MesascopeError(f"w0 of shape {tuple(w0.shape)}: expected {expected}, a row for each output, all finite")
    return w0.detach().double().cpu().reshape(d_out, n_dims)
