"""Induction heads: a gradient step on orthogonal tokens."""

import torch

from mesascope.models.constructions.arguments import at_least, per_step
from mesascope.models.constructions.assembly import BARE, Head, Layer, assemble, config
from mesascope.models.constructions.residual_stream import ResidualStream
from mesascope.models.regressor import HookedRegressor


def induction(n_dims: int, n_points: int, eta: float = 1.0, *, dtype: torch.dtype = torch.float32) -> HookedRegressor:
    """logits_t = η Σ_{s≤t} x_s (x_{s−1}·x_t): a gradient step from zero on the pairs (x_{s−1} → x_s), read at x_t.

    Layer 0 copies the token before into a slot of each token. Layer 1, the induction head, has the token as query, the
    one before as key, the token as value. On one-hot tokens the logits are η times the counts of what followed x_t,
    so with `counts = model(xs, ys) / eta`, log(counts + smoothing) are the logits of `PrefixMatching(1, smoothing)`.

    Args:
        n_dims: How many tokens there are.
        n_points: The longest sequence, for which there are positions.
        eta: η on the summed loss.
        dtype: Of the weights.

    Raises:
        MesascopeError: η is not finite, or a size makes no model.

    Source: Olsson et al. (2022) for the heads, von Oswald et al. (2023), section 5, for their reading as a step;
    departure: both layers are linear, so that the copy and the counts are exact.
    """
    at_least(1, n_dims=n_dims, n_points=n_points)
    (step,) = per_step("eta", [eta])
    h = ResidualStream(token=n_dims, before=n_dims, next=n_dims, position=n_points)
    # Positions are one-hot: row t of this map is what position t looks for, t − 1; the first finds nobody.
    one_back = torch.ones(n_points - 1, dtype=torch.float64).diag(-1)
    layers = [
        Layer([Head(h.match("position", "position", by=one_back), h.copy("token", to="before"))]),
        Layer([Head(h.match("token", "before"), step * h.copy("token", to="next"))]),
    ]
    fields = dict(causal=True, query_is_key=True, positions="learned", layout="sequence", attention="linear")
    cfg = config(
        n_dims=n_dims,
        n_points=n_points,
        n_layers=2,
        d_model=h.d_model,
        d_head=max(n_dims, n_points),
        d_out=n_dims,
        **(BARE | fields),
    )
    interfaces = {
        "embed.W_E": h.embed(ResidualStream(token=n_dims), token="token"),
        "embed.W_pos": h.read("position").T,
        "unembed.W_U": h.read("next"),
    }
    return assemble(cfg, layers, dtype, interfaces)
