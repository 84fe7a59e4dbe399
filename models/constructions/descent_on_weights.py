"""Gradient descent on w itself, kept in scratch tokens, a coordinate of w in each."""

from collections.abc import Sequence

import torch

from mesascope.models.constructions.arguments import at_least, context_points, per_step
from mesascope.models.constructions.assembly import BARE, Head, Layer, assemble, config
from mesascope.models.constructions.residual_stream import ResidualStream
from mesascope.models.regressor import HookedRegressor


def descend_on_weights(
    n_dims: int, n_points: int, etas: float | Sequence[float], *, dtype: torch.dtype = torch.float32
) -> HookedRegressor:
    """Linear attention that holds w: w ← w − (η_l/n) (S w − b) in scratch tokens, and ŷ = x_q·w.

    Scratch token i holds e_i, S e_i, b_i and w_i. The first layer forms S and b from the n points of context, each step
    is a layer with one head for S w and one for b, and in the last layer the query takes x_q·w: k+2 layers, 4d+4 wide.
    Predictions are those of `gradient_descent` from zero, whose tokens hold y − w·x and never w: of the two, this is
    the model in which w can be read behind one layer and is used in the next.

    Args:
        n_dims: Dimension of x.
        n_points: Points of a prompt, the query included; see `gradient_descent`.
        etas: η_l on the mean loss, one per step; a number is one step.
        dtype: Of the weights.

    Raises:
        MesascopeError: There is no step, context or dimension, or a number is not finite.

    Source: ours, after the scratch tokens of `newton(form="scratch")`.
    """
    at_least(1, n_dims=n_dims)
    n, steps = context_points(n_points), per_step("etas", etas)
    h = ResidualStream(S=n_dims, e=n_dims, xk=n_dims, xq=n_dims, y=1, b=1, w=1, p=1)
    # S e_i = Σ_j x_j (x_j·e_i) and b_i = Σ_j y_j (x_j·e_i).
    layers = [Layer([Head(h.match("e", "xk"), h.copy("xk", to="S") + h.copy("y", to="b"))])]
    for eta in steps:
        # w_i loses η/n Σ_k (S e_i)_k w_k = η/n (S w)_i, and gains η/n b_i from itself.
        curvature = Head(h.match("S", "e"), -(eta / n) * h.copy("w", to="w"))
        layers.append(Layer([curvature, Head(h.match("e", "e"), (eta / n) * h.copy("b", to="w"))]))
    layers.append(Layer([Head(h.match("xq", "e"), h.copy("w", to="p"))]))  # p = Σ_i x_q,i w_i
    cfg = config(
        n_dims=n_dims,
        n_points=n_points,
        n_layers=len(layers),
        n_heads=2,
        d_model=h.d_model,
        d_head=n_dims + 1,  # the first layer reads xk and y
        attention="linear",
        layout="scratch",
        **BARE,
    )
    tokens = ResidualStream(x=n_dims, e=n_dims, y=1)
    interfaces = {"embed.W_E": h.embed(tokens, e="e", xk="x", xq="x", y="y"), "unembed.W_U": h.read("p")}
    return assemble(cfg, layers, dtype, interfaces)
