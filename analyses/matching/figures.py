"""The figures of a matching: distances, scalars, and both products beside the construction's."""

import math
from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mesascope.analyses.claim import Figure
from mesascope.analyses.matching.families import FAMILIES
from mesascope.analyses.plots import NEUTRAL, log_axis, styled, with_band
from mesascope.probes import Estimate

if TYPE_CHECKING:
    from mesascope.analyses.matching.layer_match import LayerMatch
    from mesascope.analyses.matching.matching import Matching

N_DRAWN = 6
"""Most layers whose products are drawn: the first and the last."""
DIVERGING = "RdBu"
ABSENT = Estimate(math.nan, math.nan, math.nan)
"""What is not drawn."""
ROUNDING = 1e-8
"""Distance up to which weights are exact."""


def draw(result: "Matching") -> tuple[Figure, ...]:
    """Every figure that there is something to draw in."""
    layers = [layer for layer in result.layers if layer.matches]
    if not layers:
        return ()
    return (_distances(layers), *_scalars(layers), _products(layers))


def _distances(layers: list["LayerMatch"]) -> Figure:
    found = {layer.label: {match.family: match for match in layer.matches} for layer in layers}
    names = [family.name for family in FAMILIES if any(family.name in row for row in found.values())]
    rows = list(found.values())
    series = {name: [_floored(row[name].distance) if name in row else ABSENT for row in rows] for name in names}
    plot = with_band(list(found), series, "share of the norm left, ‖T − T*‖/‖T‖")
    chance = [[row[name].null if name in row else math.nan for row in rows] for name in names]
    places = [place for trace in plot.data for place in trace.x]
    plot.add_scatter(
        x=places,
        y=[null for row in chance for null in row],
        name="chance",
        mode="markers",
        hovertemplate="chance: %{y:.4f}",
        marker={"color": NEUTRAL, "symbol": "line-ew-open", "size": 18, "line": {"width": 2}},
    )
    log_axis(plot, [[estimate.value for estimate in estimates] for estimates in series.values()] + chance)
    return Figure(
        "matching-distances",
        "Distance of each layer's weights to each construction",
        "A layer acts through T = Σ_h OV_h ⊗ QK_h alone, whatever the gauge of its heads; shown is how much of its "
        "norm the nearest member of each family leaves, on the entries that can reach the output. Bars are 95% "
        "intervals from leaving out one coordinate of x at a time. The grey dash over each family is the nearest that "
        "random weights or untrained twins come to it: a rich family is near to anything, so only what lies well below "
        "its dash counts. A tenth is near enough for a name (1% of the squared norm is left).",
        plot,
        equation="‖T − T*‖ / ‖T‖, T = Σ<sub>h</sub> W_OV,h ⊗ W_QK,h",
        source="for the constructions von Oswald et al. (2023), proposition 1 and appendix A.10, and Ahn et al. "
        "(2023); the distance is ours",
    )


def _floored(estimate: Estimate) -> Estimate:
    """Rounding, where the axis is logarithmic, for what is exact."""
    return Estimate(*(max(value, ROUNDING) for value in (estimate.value, estimate.low, estimate.high)))


def _scalars(layers: list["LayerMatch"]) -> tuple[Figure, ...]:
    named = [layer for layer in layers if layer.best is not None and layer.best.scalars and layer.named]
    symbols = [s for s in ("η", "γ") if any(layer.best and s in layer.best.scalars for layer in named)]
    if not symbols:
        return ()
    labels = [layer.label for layer in named]
    series = {s: [layer.best.scalars.get(s, ABSENT) if layer.best else ABSENT for layer in named] for s in symbols}
    plot = with_band(labels, series, "on the mean loss")
    return (
        Figure(
            "matching-scalars",
            "Step sizes and curvature corrections that the weights hold",
            "The free scalars of the nearest member: η of the gradient step and γ of x ← (I − γ S/n) x, with 95% "
            "intervals from leaving out one coordinate of x at a time: they say how unlike the coordinates are. γ "
            "of the last layer is read by nobody and not shown.",
            plot,
            equation="w ← w + (η/n) Σ (yᵢ − wᵀxᵢ) xᵢ, x ← (I − γS/n) x",
            source="von Oswald et al. (2023), proposition 1 and appendix A.10",
        ),
    )


def _products(layers: list["LayerMatch"]) -> Figure:
    drawn = layers if len(layers) <= N_DRAWN else [*layers[: N_DRAWN // 2], *layers[-N_DRAWN // 2 :]]
    titles = [
        f"{side}, {layer.label}" for layer in drawn for side in ("QK", "QK of the nearest", "OV", "OV of the nearest")
    ]
    plot = make_subplots(
        rows=len(drawn), cols=4, subplot_titles=titles, horizontal_spacing=0.06, vertical_spacing=0.25 / len(drawn)
    )
    for row, layer in enumerate(drawn, start=1):
        assert layer.best is not None
        nearest = layer.best.nearest
        for first, own, theirs in ((1, layer.QK, nearest.QK), (3, layer.OV, nearest.OV)):
            bound = max(own.abs().max().item(), theirs.abs().max().item(), 1e-300)
            for col, matrix in ((first, own), (first + 1, theirs)):
                heat = go.Heatmap(
                    z=np.asarray(matrix.cpu()),
                    zmin=-bound,
                    zmax=bound,
                    colorscale=DIVERGING,
                    showscale=False,
                    hovertemplate="from %{y} to %{x}: %{z:.4g}<extra></extra>",
                )
                plot.add_trace(heat, row=row, col=col)
    styled(plot, "", "", height=90 + 210 * len(drawn))
    plot.update_xaxes(showgrid=False, title="", tickfont={"size": 10})
    plot.update_yaxes(showgrid=False, title="", autorange="reversed", tickfont={"size": 10})
    plot.update_annotations(font={"size": 12, "color": NEUTRAL})
    plot.update_layout(margin={"t": 50})
    return Figure(
        "matching-products",
        "Both products of each layer beside the construction's",
        "Rows and columns are the slots of a token, the coordinates of x and then y. QK says which tokens a query "
        "asks (rows: the query's slots, columns: the key's), OV what it takes from them (rows: what the token "
        "holds, columns: what is written). Several heads are summed with the weights that the other product gives "
        "them, so the picture has no gauge; slots that cannot reach the output are left out. Blue and red are the "
        "two signs, on one scale for each pair. Gradient descent is the identity on x for QK, and a single cell for"
        " OV; GD++ adds a diagonal to OV.",
        plot,
        equation="W_QK = W_Q W_Kᵀ and W_OV = W_V W_O",
        source="von Oswald et al. (2023), proposition 1; the picture without a gauge is ours",
    )
