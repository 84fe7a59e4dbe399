"""The figures of a spectral response."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mesascope.analyses.claim import Figure
from mesascope.analyses.plots import DASHES, NEUTRAL, PALETTE, styled, with_band
from mesascope.analyses.spectral.exact_learners import Rival
from mesascope.analyses.spectral.layers import MIN_EXPLAINED, LayerResponse
from mesascope.probes import Estimate

if TYPE_CHECKING:
    from mesascope.analyses.spectral.spectral import SpectralResponse

COLUMNS, PANEL = 3, 210
"""Panels in a row, and their height."""
REFERENCE_DASHES = (*DASHES[1:], "longdash")
MIN_DRAWN = 0.5
"""Share of a layer's predictions that an exact learner must explain to be drawn beside it."""
P_RANGE = (-0.25, 3.25)
"""Exponents that are drawn; an interval that ends outside says nothing."""


def draw(result: "SpectralResponse") -> tuple[Figure, ...]:
    """Responses and exponents of the layers that have any, and the gates of all."""
    responding = [layer for layer in result.layers if layer.responds]
    shaped = [layer for layer in responding if layer.exponent and layer.exponent.identified and not layer.converged]
    figures = [_draw_responses(responding, result.after)] if responding else []
    figures += [_draw_exponents(shaped)] if shaped else []
    return (*figures, _draw_gates(result.layers, result.after))


def _draw_responses(layers: Sequence[LayerResponse], after: str) -> Figure:
    return Figure(
        "spectral-response",
        "What each layer recovers of w along an eigenvector",
        f"The fraction g of w that a layer's prediction {after} holds along an eigenvector of S, by its "
        "eigenvalue per point: a cubic spline fitted to plain predictions, with pointwise 95% intervals of "
        "the spline (delete-a-block jackknife), which hold the true curve in about 90%. Dashed are the exact "
        "learners that predict most alike, through the same spline. A layer that has converged lies at 1 at "
        "every eigenvalue, as all converged learners do.",
        _panels(layers),
        equation="g(λ) = uᵀŵ / uᵀw for Su = λu",
        source="the learners of von Oswald et al. (2023) and Fu et al. (2024) as filters of S; the measure is ours",
    )


def _draw_exponents(layers: Sequence[LayerResponse]) -> Figure:
    return Figure(
        "spectral-exponent",
        "The exponent of each layer's response",
        "p in g = 1 − exp(−τλ^p): 1 for gradient flow, about 2 for Newton's iteration, less for ridge. Beside "
        "each layer stand the exponents of the exact learners that predict most alike on the same prompts; "
        "they depend on the prompts and on how far a layer has come. A layer is like a family if its interval "
        "meets that family's exponents and no other's.",
        _exponents(layers),
        shows=("spectral.exponent.*",),
        equation="g(λ) = 1 − exp(−τλ<sup>p</sup>)",
        source="the measure is ours",
    )


def _draw_gates(layers: Sequence[LayerResponse], after: str) -> Figure:
    gates = with_band(
        [layer.label for layer in layers],
        {
            "explained by a filter": [layer.response.ceiling for layer in layers],
            "linear in x_q": [layer.linear_x for layer in layers],
            "linear in y": [layer.linear_y for layer in layers],
            "on the diagonal": [_on_diagonal(layer) for layer in layers],
        },
        "share",
    )
    gates.add_hline(y=MIN_EXPLAINED, line={"dash": "dash", "color": NEUTRAL, "width": 1.5})
    gates.update_yaxes(range=[-0.1, 1.08])
    return Figure(
        "spectral-gates",
        "Is a filter of S the whole account?",
        f"Four shares for each layer {after}, with 95% intervals: of its predictions that any filter of S explains "
        "on prompts not fitted, of its predictions at other queries that is linear in them (R²), of its "
        "predictions for summed y that is the sum of those for each (R²), and of the map from w to its induced "
        "weights that is diagonal in the eigenbasis of S. Below the dashed line of .9 an exponent is no full account; "
        "a layer that predicts nothing may still be linear in nothing, so the first share decides.",
        gates,
        shows=("spectral.explained.*", "spectral.off_diagonal.*", "spectral.least_squares.*"),
        equation="R² = 1 − Σ(ŷ − ŷ_fit)² / Σŷ² for a filter, and for maps linear in x_q and in y",
        source="the measure is ours",
    )


def _panels(layers: Sequence[LayerResponse]) -> go.Figure:
    """One panel a layer, on common axes."""
    rows = math.ceil(len(layers) / COLUMNS)
    figure = make_subplots(
        rows,
        min(COLUMNS, len(layers)),
        shared_xaxes="all",
        shared_yaxes="all",
        subplot_titles=[layer.label for layer in layers],
        vertical_spacing=0.12 / rows + 0.04,
        horizontal_spacing=0.04,
    )
    families, named = sorted({family for layer in layers for family in layer.rivals}), set[str]()
    for index, layer in enumerate(layers):
        place = {"row": index // COLUMNS + 1, "col": index % COLUMNS + 1}
        _draw_layer(figure, layer, place, named=index == 0)
        for family, rival in layer.rivals.items():  # on top, for the best lies on the layer's own line
            if rival.explained >= MIN_DRAWN:
                x = layer.response.eigenvalues
                _draw_rival(figure, x, rival, family, families.index(family), place, family not in named)
                named.add(family)
    styled(figure, "", "", height=110 + PANEL * rows)
    _label_axes(figure, layers, rows)
    figure.update_layout(legend={"y": 1.0 + 40 / (PANEL * rows)}, margin={"t": 60})
    return figure


def _draw_layer(figure: go.Figure, layer: LayerResponse, place: dict[str, int], named: bool) -> None:
    """The layer's response and its interval; `named` is whether the legend shows it."""
    x, g = list(layer.response.eigenvalues), layer.response.g
    figure.add_scatter(
        x=x + x[::-1],
        y=[e.high for e in g] + [e.low for e in g][::-1],
        fill="toself",
        fillcolor="rgba(0,114,178,.22)",
        line={"width": 0},
        hoverinfo="skip",
        showlegend=False,
        **place,
    )
    figure.add_scatter(
        x=x,
        y=[e.value for e in g],
        name="this layer",
        legendgroup="layer",
        showlegend=named,
        mode="lines",
        line={"color": PALETTE[0], "width": 2.5},
        **place,
    )


def _draw_rival(
    figure: go.Figure, x: Sequence[float], rival: Rival, family: str, style: int, place: dict[str, int], named: bool
) -> None:
    figure.add_scatter(
        x=list(x),
        y=list(rival.g),
        name=f"exact {family}",
        legendgroup=family,
        legendrank=1001 + style,
        showlegend=named,
        mode="lines",
        line={"color": PALETTE[1 + style % 7], "dash": REFERENCE_DASHES[style % 4], "width": 2},
        **place,
    )


def _label_axes(figure: go.Figure, layers: Sequence[LayerResponse], rows: int) -> None:
    """Titles at the lowest panel of each column and the first of each row; what stays empty is hidden."""
    grid = {"gridcolor": "rgba(128,128,128,.25)", "zeroline": False}
    x, n_layers = layers[0].response.eigenvalues, len(layers)
    figure.update_xaxes(type="log", dtick=1 if math.log10(x[-1] / x[0]) > 2 else "D2", **grid)
    figure.update_yaxes(range=_shown(layers), **grid)
    for index in range(n_layers):
        row, column = index // COLUMNS + 1, index % COLUMNS + 1
        if index + COLUMNS >= n_layers:
            figure.update_xaxes(title="λ / points", showticklabels=True, row=row, col=column)
        if column == 1:
            figure.update_yaxes(title="g(λ)", row=row, col=column)
    for index in range(n_layers, rows * min(COLUMNS, n_layers)):
        figure.update_xaxes(visible=False, row=rows, col=index % COLUMNS + 1)
        figure.update_yaxes(visible=False, row=rows, col=index % COLUMNS + 1)


def _shown(layers: Sequence[LayerResponse]) -> list[float]:
    """Room for every curve, though not for intervals or steps that run off far beyond [0, 1]."""
    values = [e.value for layer in layers for e in layer.response.g]
    return [max(min(values + [0.0]) - 0.15, -1.0), min(max(values + [1.0]) + 0.15, 3.5)]


def _exponents(layers: Sequence[LayerResponse]) -> go.Figure:
    """Each layer's exponent beside those of exact learners."""
    series = {"layer": [layer.exponent.p for layer in layers if layer.exponent is not None]}
    for family in sorted({family for layer in layers for family in layer.rivals}):
        rivals = [layer.rivals.get(family) for layer in layers]
        ends = [(math.nan, math.nan) if rival is None or rival.p is None else rival.p for rival in rivals]
        series[f"exact {family}"] = [Estimate((low + high) / 2, low, high) for low, high in ends]
    figure = with_band([layer.label for layer in layers], series, "exponent p")
    figure.update_yaxes(range=list(P_RANGE))
    return figure


def _on_diagonal(layer: LayerResponse) -> Estimate:
    """The rest of `off_diagonal`; nothing of a layer that predicts zero."""
    share = layer.off_diagonal
    predicts = any(layer.linear_x.ci)
    return Estimate(1 - share.value, 1 - share.high, 1 - share.low) if predicts else Estimate(0.0, 0.0, 0.0)
