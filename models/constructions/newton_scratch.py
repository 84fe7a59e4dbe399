"""Newton's iterate kept in scratch tokens, a row of M in each."""

import torch

from mesascope.models.constructions.assembly import BARE, Head, Layer, assemble, config
from mesascope.models.constructions.residual_stream import ResidualStream
from mesascope.models.regressor import HookedRegressor


def with_scratch(n_dims: int, n_points: int, n_steps: int, alpha: float, dtype: torch.dtype) -> HookedRegressor:
    """Scratch token i holds M e_i, S e_i and b_i; M ← 2M − M S M, with one head for each term."""
    # 5d+3 wide; e is the scratch token's unit vector, zero in all others, and p the prediction.
    h = ResidualStream(M=n_dims, S=n_dims, e=n_dims, xk=n_dims, xq=n_dims, y=1, b=1, p=1)
    # M e_i = α Σ_j x_j (x_j·e_i), S e_i likewise, and b_i = Σ_j y_j (x_j·e_i).
    moments = alpha * h.copy("xk", to="M") + h.copy("xk", to="S") + h.copy("y", to="b")
    # M e_i loses Σ_j M e_j (S e_j·M e_i) = M S M e_i and gains M e_i from itself.
    newton = Layer([Head(h.match("M", "S"), -h.copy("M", to="M")), Head(h.match("e", "e"), h.copy("M", to="M"))])
    # p = Σ_i b_i (M e_i·x_q).
    answer = Head(h.match("xq", "M"), h.copy("b", to="p"))
    layers = [Layer([Head(h.match("e", "xk"), moments)]), *[newton] * n_steps, Layer([answer])]
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
