"""Newton's iterates kept in the examples' own tokens: M x_j beside x_j."""

from collections.abc import Sequence

import torch

from mesascope.models.constructions.assembly import BARE, Head, Layer, assemble, config
from mesascope.models.constructions.residual_stream import ResidualStream
from mesascope.models.regressor import HookedRegressor


def with_mlp(n_dims: int, n_points: int, n_steps: int, alpha: float, dtype: torch.dtype) -> HookedRegressor:
    """Attention gives M − ½ M S M, a linear MLP doubles it."""
    h = _stream(n_dims)
    newton = Layer(_subtract(h, 0.5), mlp=h.copy("Ak", to="Ak") + h.copy("Aq", to="Aq"))
    layers = [Layer(_begin(h, alpha)), *[newton] * n_steps, Layer(_answer(h))]
    return _model(n_points, layers, h, dtype)


def attention_only(n_dims: int, n_points: int, n_steps: int, alpha: float, dtype: torch.dtype) -> HookedRegressor:
    """U_l = M_l/2^l is never doubled: U ← U − 2^(l−1) U S U, and the read-out restores 2^k."""
    h = _stream(n_dims)
    newton = [Layer(_subtract(h, 2.0 ** (step - 1))) for step in range(n_steps)]
    return _model(n_points, [Layer(_begin(h, alpha)), *newton, Layer(_answer(h, 2.0**n_steps))], h, dtype)


def with_relu(n_dims: int, n_points: int, n_steps: int, alpha: float, dtype: torch.dtype) -> HookedRegressor:
    """`with_mlp` in relu attention, two heads for one: s = relu(s) − relu(−s)."""
    h = _stream(n_dims)
    newton = Layer(_rectified(_subtract(h, 0.5)), mlp=h.copy("Ak", to="Ak") + h.copy("Aq", to="Aq"))
    layers = [Layer(_rectified(_begin(h, alpha))), *[newton] * n_steps, Layer(_rectified(_answer(h)))]
    return _model(n_points, layers, h, dtype, attention="relu", n_heads=4)


def _stream(n_dims: int) -> ResidualStream:
    """Slots Ak = M x_k and Aq = M x_q, x as a key and as a query, y, and the prediction p: 4d+2 wide."""
    return ResidualStream(Ak=n_dims, Aq=n_dims, xk=n_dims, xq=n_dims, y=1, p=1)


def _begin(h: ResidualStream, alpha: float) -> list[Head]:
    """Start: A = α S x, so that M_0 = αS."""
    return [
        Head(h.match("xk", "xk"), alpha * h.copy("xk", to="Ak")),
        Head(h.match("xq", "xk"), alpha * h.copy("xk", to="Aq")),
    ]


def _subtract(h: ResidualStream, share: float) -> list[Head]:
    """Newton: A ← A − share · M S A, since a token finds Σ_j (M x_j)(M x_j)·x = M S M x in the others."""
    return [
        Head(-share * h.match("xk", "Ak"), h.copy("Ak", to="Ak")),
        Head(-share * h.match("xq", "Ak"), h.copy("Ak", to="Aq")),
    ]


def _answer(h: ResidualStream, factor: float = 1.0) -> list[Head]:
    """Read-out: p = Σ_j y_j x_j·(M x_q)."""
    return [Head(factor * h.match("Aq", "xk"), h.copy("y", to="p"))]


def _rectified(heads: Sequence[Head]) -> list[Head]:
    return [Head(sign * head.QK, sign * head.OV) for head in heads for sign in (1, -1)]


def _model(
    n_points: int, layers: Sequence[Layer], h: ResidualStream, dtype: torch.dtype, **others: object
) -> HookedRegressor:
    n_dims = h.slots["Ak"].stop
    fields = dict(n_heads=2, d_head=n_dims, attention="linear", mlp_activation="linear", layout="joint")
    cfg = config(
        n_dims=n_dims,
        n_points=n_points,
        n_layers=len(layers),
        d_model=h.d_model,
        d_mlp=tuple(0 if layer.mlp is None else 2 * n_dims for layer in layers),
        **(BARE | fields | others),
    )
    tokens = ResidualStream(x=n_dims, y=1)
    # Fu's query is a key and needs xk = 0. Here it is none, one map serves all tokens, and Ak and Aq are the same.
    interfaces = {"embed.W_E": h.embed(tokens, xk="x", xq="x", y="y"), "unembed.W_U": h.read("p")}
    return assemble(cfg, layers, dtype, interfaces)
