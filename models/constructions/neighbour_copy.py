"""A copy of the neighbour and then a gradient step: what separate tokens of x and y need."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.models.constructions.arguments import at_least, context_points, per_step
from mesascope.models.constructions.assembly import BARE, Head, Layer, assemble, config
from mesascope.models.constructions.residual_stream import ResidualStream
from mesascope.models.errors import MesascopeError
from mesascope.models.interfaces import sinusoidal_code
from mesascope.models.regressor import HookedRegressor

LEAKS = 1e-18
"""What the softmax leaves on all tokens but one together: less than half a rounding error of float64."""


def copy_then_descend(
    n_dims: int, n_points: int, eta: float, *, d_position: int = 10, dtype: torch.dtype = torch.float32
) -> HookedRegressor:
    """Layer 0 merges y_i with the x_i in the token before it, layer 1 is one gradient step w = (η/n) Σ_i y_i x_i.

    Layer 0 is one softmax head on the position code beside the tokens: a query turns every pair (sin, cos) of its code
    back by one position, and scores it against the keys' codes so sharply that the token before it takes all.

    One step only: the tokens of x stay in the context, as points (x_i, 0). Their y-slot is zero, so the first step does
    not notice them, but it leaves −w·x_i there, and a second step would fit them too.

    Args:
        n_dims: Dimension of x.
        n_points: Points of a prompt, the query included: n = n_points − 1 is in the weights, and so is the sharpness
            that this many points need.
        eta: η on the mean loss.
        d_position: Width of the sinusoidal code.
        dtype: Of the weights.

    Raises:
        MesascopeError: There is no context, η is not finite, the width is odd, or n_dims makes no model.

    Source: von Oswald et al. (2023), section 5 and proposition 3.
    """
    at_least(1, n_dims=n_dims)
    if d_position < 2 or d_position % 2:
        raise MesascopeError(f"d_position={d_position}: expected an even width >= 2, a sine and a cosine for each rate")
    n, (step,) = context_points(n_points), per_step("eta", [eta])
    h = ResidualStream(x=n_dims, y=1, position=d_position)
    d_head = max(n_dims, d_position)
    sharpness = _sharpness(2 * n_points - 1, d_position) * math.sqrt(d_head)  # which softmax attention divides by
    before = sharpness * h.match("position", "position", by=_one_back(d_position))
    layers = [
        Layer([Head(before, h.copy("x", to="x"))]),
        Layer([Head(h.match("x", "x"), -(step / n) * h.copy("y", to="y"))]),
    ]
    fields = dict(positions="sinusoidal", read_in="slots", read_out="slots", layout="separate")
    cfg = config(
        n_dims=n_dims,
        n_points=n_points,
        n_layers=2,
        d_model=h.d_model,
        d_head=d_head,
        d_position=d_position,
        attention=("softmax", "linear"),
        **(BARE | fields),
    )
    return assemble(cfg, layers, dtype)


def _one_back(d_position: int) -> Float[Tensor, "d_position d_position"]:
    """R with code_t R = code_{t−1}, on rows."""
    rates = 10_000.0 ** (-torch.arange(0, d_position, 2, dtype=torch.float64) / d_position)
    # sin(a − r) = sin a cos r − cos a sin r in the first column, cos(a − r) = cos a cos r + sin a sin r in the second.
    cos, sin = rates.cos(), rates.sin()
    turns = torch.stack([torch.stack([cos, sin], dim=1), torch.stack([-sin, cos], dim=1)], dim=1)
    return torch.block_diag(*turns)


def _sharpness(n_tokens: int, d_position: int) -> float:
    """The factor on code·code at which all other tokens together get less than `LEAKS` of the nearest one's weight."""
    code = sinusoidal_code(n_tokens + 1, d_position, torch.device("cpu"), torch.float64)
    products = code[1:] @ code[0]  # by distance: those at distance 0, d_position/2, stand out by this much
    gap = d_position / 2 - products.max().item()
    return math.log(n_tokens / LEAKS) / gap
