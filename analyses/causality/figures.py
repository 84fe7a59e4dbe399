"""Slopes by layer with their nulls, and moved predictions against what they should be."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mesascope.analyses.causality.cause import STRENGTH, USED, Cause
from mesascope.analyses.causality.effect_figures import draw_effects
from mesascope.analyses.claim import Figure, fixed
from mesascope.analyses.plots import NEUTRAL, PALETTE, SYMBOLS, styled
from mesascope.probes import Estimate

if TYPE_CHECKING:
    from mesascope.analyses.causality.causality import Causes

COLUMNS, PANEL = 2, 260
"""Panels in a row, and their height."""
SERIES = {
    "alone": "interchange",
    "ceiling": "all of the site",
    "placebo": "placebo",
    "mismatched": "another readout",
    "untrained": "untrained twins",
}
SHOWN = (-0.5, 1.5)
"""Slopes that the axis holds at the least; a control that is far off would flatten all others."""


def draw(result: "Causes") -> tuple[Figure, ...]:
    """Slopes, pairs, and what there is of components."""
    groups = [group for group in _groups(result.causes) if any(cause.slopes for cause in group)]
    if not groups:
        return draw_effects(result.effects)
    return (_slopes(groups, result), _pairs(groups), *draw_effects(result.effects))


def _groups(causes: Sequence[Cause]) -> list[list[Cause]]:
    """Layer by layer, one variable and site at a time."""
    kinds = dict.fromkeys((cause.variable, cause.site) for cause in causes)
    return [[cause for cause in causes if (cause.variable, cause.site) == kind] for kind in kinds]


def _grid(groups: Sequence[Sequence[Cause]], titles: Sequence[str]) -> tuple[go.Figure, list[tuple[int, int]]]:
    rows = -(-len(groups) // COLUMNS)
    plot = make_subplots(
        rows=rows, cols=min(COLUMNS, len(groups)), subplot_titles=titles, vertical_spacing=0.26 / max(rows, 2)
    )
    places = [(1 + index // COLUMNS, 1 + index % COLUMNS) for index in range(len(groups))]
    return plot, places


def _finished(plot: go.Figure, rows: int, x_title: str, y_title: str) -> go.Figure:
    # The styled axes are the first panel's alone.
    styled(plot, "", "", height=PANEL * rows + 110)
    plot.update_xaxes(gridcolor="rgba(128,128,128,.25)", zeroline=False)
    plot.update_xaxes(title=x_title, row=rows)
    plot.update_yaxes(gridcolor="rgba(128,128,128,.25)", zeroline=False)
    plot.update_yaxes(title=y_title, col=1)
    plot.update_annotations(font={"size": 14, "color": NEUTRAL})
    plot.update_layout(legend={"y": 1 + 50 / (PANEL * rows)}, margin={"t": 60})
    return plot


def _slopes(groups: Sequence[Sequence[Cause]], result: "Causes") -> Figure:
    plot, places = _grid(groups, [f"{group[0].variable}, {group[0].site}" for group in groups])
    shown: set[str] = set()
    for group, (row, col) in zip(groups, places, strict=True):
        for index, (name, label) in enumerate(SERIES.items()):
            found = [(c, c.untrained if name == "untrained" else c.slopes.get(name)) for c in group]
            drawn = [(cause.layer, estimate) for cause, estimate in found if estimate is not None]
            if drawn:
                trace = _markers(drawn, index, label, label not in shown)
                plot.add_trace(trace, row=row, col=col)
                shown.add(label)
        plot.add_hline(y=1, line={"dash": "dash", "color": NEUTRAL, "width": 1}, row=row, col=col)
        plot.add_hline(y=0, line={"color": NEUTRAL, "width": 1}, row=row, col=col)
        plot.update_xaxes(tickvals=[cause.layer for cause in group], row=row, col=col)
        plot.update_yaxes(range=_range(group), row=row, col=col)
    _finished(plot, places[-1][0], "layer", "slope")
    return Figure(
        "causality-slope",
        "How far the prediction follows what is interchanged",
        f"On {result.n_pairs:,} base prompts with {result.point} points before the query, one variable of "
        f"{result.learner} is set to what is read at the same place on an unrelated source prompt A, while what is "
        "read of the variables beside it stays. The slope is that of the change of the prediction on what the learner "
        "predicts with A's value, beside minus what it predicts with the base's own: 1 (dashed) where the variable is "
        "all that the rest of the model uses, 0 where it is not used or the prediction merely breaks. All of the site: "
        "the whole activation of a prompt with A's context and the base's query, which is as much as passes there. "
        "Placebo: as far towards A, along all that leaves these readings as they are. Another readout: "
        "fitted to other prompts' values. Bars are 95% intervals over pairs, of untrained twins those in which one "
        "more would fall. A variable that is not told apart from another, which is read better, is not moved and has "
        "no first marker.",
        plot,
        equation="h ← h + ΣC (CᵀΣC)⁺ [Wᵀ(h<sub>A</sub> − h), 0], W the readout, C = [W, readouts that stay], "
        "Σ = Cov(h)",
        source="Geiger et al. (2021) for interchange, Haufe et al. (2014, eq. 6) for the pattern of a readout; "
        "departures: real-valued variables, others held, a slope in place of an accuracy",
    )


def _range(group: Sequence[Cause]) -> list[float]:
    """An axis that holds what matters, and controls as far as they fit in twice that."""
    kept = [cause.slopes[name] for cause in group for name in ("alone", "ceiling") if name in cause.slopes]
    low = min([SHOWN[0], *(estimate.low for estimate in kept)])
    high = max([SHOWN[1], *(estimate.high for estimate in kept)])
    return [max(low, 2 * SHOWN[0] - 1), min(high, 2 * SHOWN[1])]


def _markers(drawn: Sequence[tuple[int, Estimate]], index: int, label: str, in_legend: bool) -> go.Scatter:
    offset = 0.12 * (index - (len(SERIES) - 1) / 2)
    return go.Scatter(
        x=[layer + offset for layer, _ in drawn],
        y=[estimate.value for _, estimate in drawn],
        error_y={
            "array": [estimate.high - estimate.value for _, estimate in drawn],
            "arrayminus": [estimate.value - estimate.low for _, estimate in drawn],
            "thickness": 1.5,
            "width": 2,
        },
        customdata=[[layer, estimate.low, estimate.high] for layer, estimate in drawn],
        hovertemplate="layer %{customdata[0]}: %{y:.4f} [%{customdata[1]:.4f}, %{customdata[2]:.4f}]",
        name=label,
        legendgroup=label,
        showlegend=in_legend,
        mode="markers",
        marker={"color": PALETTE[index], "symbol": SYMBOLS[index], "size": 8},
    )


def _pairs(groups: Sequence[Sequence[Cause]]) -> Figure:
    """Each variable where the most follows from it."""
    moved = [[cause for cause in group if cause.pairs] for group in groups]
    best = [max(group, key=lambda c: (-STRENGTH.index(c.verdict), _slope(c))) for group in moved if group]
    plot, places = _grid(
        [[cause] for cause in best], [f"{c.variable}, {c.site}, layer {c.layer}: {c.verdict}" for c in best]
    )
    for cause, (row, col) in zip(best, places, strict=True):
        expected, found = zip(*cause.pairs, strict=True)
        bound = sorted(map(abs, expected))[int(0.98 * (len(expected) - 1))] * 1.1  # single pairs are far off
        plot.add_scatter(
            x=expected,
            y=found,
            mode="markers",
            marker={"color": PALETTE[0], "size": 5, "opacity": 0.6},
            hovertemplate="predicted %{x:.4f}, found %{y:.4f}<extra></extra>",
            name="a pair of prompts",
            showlegend=(row, col) == (1, 1),
            row=row,
            col=col,
        )
        ends = [-bound, bound]
        for name, factor, dash in (("used", 1.0, "dash"), ("slope found", _slope(cause), "solid")):
            plot.add_scatter(
                x=ends,
                y=[factor * end for end in ends],
                mode="lines",
                line={"color": NEUTRAL if name == "used" else PALETTE[1], "dash": dash, "width": 2},
                hoverinfo="skip",
                name=name,
                showlegend=(row, col) == (1, 1),
                row=row,
                col=col,
            )
        plot.update_xaxes(range=ends, row=row, col=col)
        plot.update_yaxes(range=ends, row=row, col=col)
    _finished(plot, places[-1][0], "change that the learner predicts", "change found")
    return Figure(
        "causality-pairs",
        "Predictions after the interchange",
        "One point for each pair of prompts: by how much the prediction changes when the variable is set to the "
        "source's, against what the learner then predicts. Each "
        "panel is the layer where the most follows. Points on the dashed diagonal are a variable that is used, points "
        "on the horizontal one that is not. The solid line has the slope on the source's part alone; from "
        f"{fixed(USED, 1)} on the verdict is used. A few pairs lie outside the axes.",
        plot,
        equation="ŷ<sub>moved</sub> − ŷ against x·w(B with A's value) − x·w(B)",
        source="after Geiger et al. (2021)",
    )


def _slope(cause: Cause) -> float:
    return 0.0 if cause.slope is None else cause.slope.value
