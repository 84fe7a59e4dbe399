"""Gradient descent and GD++ in linear self-attention."""

from collections.abc import Sequence

import torch

from mesascope.models.architecture import RegressorConfig
from mesascope.models.constructions.arguments import Weights, at_least, context_points, per_step, starting_weights
from mesascope.models.constructions.assembly import Head, Layer, assemble, config
from mesascope.models.constructions.residual_stream import ResidualStream
from mesascope.models.errors import MesascopeError
from mesascope.models.regressor import HookedRegressor


def gradient_descent(
    n_dims: int,
    n_points: int,
    etas: float | Sequence[float],
    *,
    w0: Weights | None = None,
    d_out: int = 1,
    dtype: torch.dtype = torch.float32,
) -> HookedRegressor:
    """Linear self-attention with a step w ← w − (η_l/n) Σ_j (w·x_j − y_j) x_j a layer, over the n points of context.

    Tokens (x, y) are the residual stream, W_Q W_Kᵀ = diag(I, 0) and W_V W_O = diag(0, −η_l/n). A token's y-slot holds
    y − w·x, so that the query's, which starts at zero, ends at minus the prediction.

    From w0 ≠ 0 the read-in maps each token to (x, y − w0·x): descent from zero on what w0 leaves. Seen from the tokens
    this is the paper's query (x_q, −w0·x_q), and its value row [w0, −1] up to the sign that stands in W_O here.

    Args:
        n_dims: Dimension of x.
        n_points: Points of a prompt, the query included: n = n_points − 1 is in the weights, and on prompts of n'
            points of context the step is η n'/n.
        etas: η_l on the mean loss, one per layer; a number is one step.
        w0: Where to start, zero by default; a row for each output if there are several.
        d_out: How many outputs y has; each descends alone.
        dtype: Of the weights.

    Raises:
        MesascopeError: There is no step, context or dimension, a number is not finite, or w0 is of another shape.

    Source: von Oswald et al. (2023), proposition 1.
    """
    at_least(1, n_dims=n_dims, d_out=d_out)
    n, h = context_points(n_points), ResidualStream(x=n_dims, y=d_out)
    heads = [Head(h.match("x", "x"), -(eta / n) * h.copy("y", to="y")) for eta in per_step("etas", etas)]
    return descend(n_points, heads, h, w0, dtype)


def gd_plus_plus(
    n_dims: int,
    n_points: int,
    etas: float | Sequence[float],
    gammas: float | Sequence[float],
    *,
    w0: Weights | None = None,
    d_out: int = 1,
    dtype: torch.dtype = torch.float32,
) -> HookedRegressor:
    """In each layer a gradient step on the transformed data, and x ← (I − γ_l S/n) x, both from the old x.

    As `gradient_descent`, with W_V W_O = diag(−(γ_l/n) I, −η_l/n). From w0 ≠ 0 it runs from zero on what w0 leaves.

    Args:
        n_dims: Dimension of x.
        n_points: Points of a prompt, the query included; see `gradient_descent`.
        etas: η_l on the mean loss, one per layer; a number is one step.
        gammas: γ_l on S/n, one per layer. What the last one does is read by nobody.
        w0: Where to start, zero by default; a row for each output if there are several.
        d_out: How many outputs y has.
        dtype: Of the weights.

    Raises:
        MesascopeError: There are not as many γ as η, there is no step, context or dimension, a number is not finite,
            or w0 is of another shape.

    Source: von Oswald et al. (2023), appendix A.10; departure: from w0 the value row [w0, −1] would serve the first
    layer alone, as it holds for the untransformed x, hence the read-in.
    """
    at_least(1, n_dims=n_dims, d_out=d_out)
    eta_of, gamma_of, n = per_step("etas", etas), per_step("gammas", gammas), context_points(n_points)
    if len(eta_of) != len(gamma_of):
        raise MesascopeError(f"{len(eta_of)} etas and {len(gamma_of)} gammas; expected one of each per step")
    h = ResidualStream(x=n_dims, y=d_out)
    heads = [
        Head(h.match("x", "x"), -(gamma / n) * h.copy("x", to="x") - (eta / n) * h.copy("y", to="y"))
        for eta, gamma in zip(eta_of, gamma_of, strict=True)
    ]
    return descend(n_points, heads, h, w0, dtype)


def descend(
    n_points: int, heads: Sequence[Head], h: ResidualStream, w0: Weights | None, dtype: torch.dtype
) -> HookedRegressor:
    """Linear self-attention with one of the heads a layer, started at w0; `h` has the slots x and y."""
    n_dims, d_out = h.slots["x"].stop, h.d_model - h.slots["y"].start
    layers = [Layer([head]) for head in heads]
    cfg = config(
        RegressorConfig.linear_self_attention, n_dims=n_dims, n_points=n_points, n_layers=len(layers), d_out=d_out
    )
    if w0 is None:
        return assemble(cfg, layers, dtype)
    affine = config(**(cfg.model_dump() | {"read_in": "affine"}))
    residual = torch.eye(h.d_model, dtype=torch.float64) - h.copy("x", to="y", by=starting_weights(w0, n_dims, d_out).T)
    return assemble(affine, layers, dtype, {"embed.W_E": residual})
