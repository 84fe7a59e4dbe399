"""Quantities over training, drawn."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mesascope.analyses.claim import Figure
from mesascope.analyses.development.series import Series
from mesascope.analyses.plots import DASHES, NEUTRAL, PALETTE, SYMBOLS, styled
from mesascope.probes import Estimate
from mesascope.probes.change_points import HALF, ONSET, Crossing

if TYPE_CHECKING:
    from mesascope.analyses.development.development import Development

PANEL, ROW = 230, 26
"""Heights of a panel, and of a row of the order."""
N_SHOWN = 8
"""Curves that are drawn on one axis before the legend is asked for more: as many as there are colours."""
ZERO = 0.5
"""Where a logarithmic axis has step 0."""


def draw(result: "Development") -> tuple[Figure, ...]:
    """All figures that there is something to draw for."""
    changing = result.changing
    together = (_together(changing, result), _order(changing, result)) if changing else ()
    return (*together, _own_units(result))


def _together(changing: Sequence[Series], result: "Development") -> Figure:
    plot = go.Figure()
    for index, series in enumerate(changing):
        course = series.course
        assert course is not None
        estimates = [_rescaled(estimate, course.before, course.after) for estimate in series.estimates]
        _add_curve(plot, series, estimates, index, {}, index < N_SHOWN)
    plot.add_hline(y=HALF, line={"dash": "dash", "color": NEUTRAL, "width": 1})
    for index, series in enumerate(changing):
        assert series.half is not None
        _add_interval(plot, series.half, HALF, index, series.label, index < N_SHOWN)
    styled(plot, "training step", "share of the way", height=460 + 20 * len(changing))
    plot.update_layout(legend={"y": -0.2, "yanchor": "top"})
    plot.update_yaxes(range=[-0.25, 1.35])
    _log_steps(plot, result.steps)
    return Figure(
        "development-timeline",
        "All that changes, on one axis",
        "Each quantity minus its first level, divided by its last minus its first, so that 0 is "
        "its plateau and 1 where it ends, whether it rises or falls. v₀ is the median over the checkpoints before the "
        "best single split, v₁ that over the last half of those after it. Bands are the 95% intervals of each "
        "estimate, clustered by prompt. A marker stands where a curve is half of the way (dashed); its bar is the 95% "
        "interval, which ends at checkpoints and is never finer than their grid. All checkpoints see the same prompts: "
        "their errors are shared, so a curve is smoother than its band is wide. The axis is logarithmic, with step 0 "
        "at its left end. Quantities that do not change are left out; from the ninth on they are switched on in the "
        "legend.",
        plot,
        shows=("development.change.*",),
        equation="(v − v₀)/(v₁ − v₀)",
        source="The split is Hinkley's (1970); levels by medians are ours",
    )


def _order(changing: Sequence[Series], result: "Development") -> Figure:
    plot = go.Figure()
    for share, title, symbol in ((ONSET, "leaves its first level (10%)", "circle-open"), (HALF, "half of the way", "")):
        crossings = [series.half if share == HALF else series.onset for series in changing]
        found = [(row, each) for row, each in enumerate(crossings) if each is not None]
        offset = 0.15 if share == ONSET else -0.15
        plot.add_scatter(
            x=[_at(each.at) for _, each in found],
            y=[row + offset for row, _ in found],
            error_x=_bars([each for _, each in found]),
            name=title,
            mode="markers",
            marker={"color": PALETTE[1 if share == ONSET else 0], "symbol": symbol or "circle", "size": 9},
            customdata=[[changing[row].label, each.at, *each.ci] for row, each in found],
            hovertemplate="%{customdata[0]}: step %{customdata[1]:.0f} [%{customdata[2]:.0f}, %{customdata[3]:.0f}]"
            "<extra></extra>",
        )
    styled(plot, "training step", "", height=150 + ROW * max(3, len(changing)))
    plot.update_yaxes(
        tickvals=list(range(len(changing))),
        ticktext=[series.label for series in changing],
        automargin=True,
        range=[len(changing) - 0.5, -0.5],
    )
    _log_steps(plot, result.steps)
    return Figure(
        "development-order",
        "What changes first",
        "The earliest at the top. Filled: the step at which a quantity is half of the way between its levels; open: at "
        "which it has gone a tenth of the way, and so has left its first level. Bars are 95% intervals: the isotonic "
        "regression of the curve is drawn 400 times with the estimates' noise, and each draw's "
        "crossing is known to the two checkpoints around it. Where the bars of two overlap, their order may be open; "
        "the claims decide it from the difference.",
        plot,
        shows=("development.order.*", "development.onset_order.*"),
        equation="v(step) = v₀ + share · (v₁ − v₀), share .1 and .5",
        source="The isotonic regression is that of Barlow et al. (1972); joining its draws with the grid is ours",
    )


def _own_units(result: "Development") -> Figure:
    groups: dict[str, list[Series]] = {}
    for series in result.series:
        groups.setdefault(series.analysis, []).append(series)
    plot = make_subplots(len(groups), 1, shared_xaxes=True, vertical_spacing=0.18 / max(3, len(groups)))
    for row, of_group in enumerate(groups.values(), 1):
        place = {"row": row, "col": 1}
        for index, series in enumerate(of_group):
            _add_curve(plot, series, series.estimates, index, place, True, f"legend{row if row > 1 else ''}")
            if series.null is not None:
                plot.add_hline(y=series.null, line={"dash": "dot", "color": PALETTE[index % 8], "width": 1}, **place)
            if series.half is not None:
                colour, (low, high) = PALETTE[index % 8], map(_at, series.half.ci)
                plot.add_vrect(x0=low, x1=high, fillcolor=_faint(colour), line_width=0, **place)
                line = {"color": colour, "dash": DASHES[index % 4], "width": 1}
                plot.add_vline(x=_at(series.half.at), line=line, **place)
    height = 90 + PANEL * len(groups)
    styled(plot, "", "", height=height)
    for row, of_group in enumerate(groups.values(), 1):
        top = plot.get_subplot(row, 1).yaxis.domain[1]
        legend = {"x": 1.02, "xanchor": "left", "y": top, "yanchor": "top", "orientation": "v", "font": {"size": 11}}
        plot.update_layout({f"legend{row if row > 1 else ''}": legend})
        plot.update_yaxes(title_text=of_group[0].unit or of_group[0].analysis, row=row, col=1)
    plot.update_layout(modebar={"orientation": "h"}, margin={"t": 30})
    plot.update_xaxes(title_text="training step", row=len(groups), col=1)
    plot.update_xaxes(gridcolor="rgba(128,128,128,.25)", zeroline=False)
    plot.update_yaxes(gridcolor="rgba(128,128,128,.25)", zeroline=False)
    _log_steps(plot, result.steps)
    return Figure(
        "development-quantities",
        "Each quantity in its own unit",
        "A panel for each analysis, with bands that are the 95% intervals of each estimate. A vertical line with its "
        "95% interval stands where a quantity is half of the way, a dotted horizontal one at its null (untrained "
        "twins, shuffled targets, random weights), the median over checkpoints. A quantity that only some checkpoints "
        "have, such as the exponent of a response that is not yet there, begins where it comes into being.",
        plot,
        equation="v(step), each the number of one claim of its analysis",
        source="Each analysis' own; following a claim over checkpoints is ours",
    )


def _add_curve(
    plot: go.Figure,
    series: Series,
    estimates: Sequence[Estimate],
    index: int,
    place: dict[str, int],
    shown: bool,
    legend: str = "legend",
) -> None:
    colour, visible = PALETTE[index % 8], True if shown else "legendonly"
    xs = [_at(step) for step in series.steps]
    plot.add_scatter(
        x=[*xs, *xs[::-1]],
        y=[*(e.high for e in estimates), *(e.low for e in estimates[::-1])],
        fill="toself",
        fillcolor=_faint(colour),
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
        showlegend=False,
        legendgroup=series.id,
        visible=visible,
        **place,
    )
    plot.add_scatter(
        x=xs,
        y=[e.value for e in estimates],
        name=series.label,
        mode="lines+markers",
        line={"color": colour, "dash": DASHES[index % 4]},
        marker={"symbol": SYMBOLS[index % 8], "size": 5},
        customdata=[[step, e.value, e.low, e.high] for step, e in zip(series.steps, series.estimates, strict=True)],
        hovertemplate="step %{customdata[0]}: %{customdata[1]:.4f} [%{customdata[2]:.4f}, %{customdata[3]:.4f}]",
        legendgroup=series.id,
        legend=legend,
        visible=visible,
        **place,
    )


def _add_interval(plot: go.Figure, crossing: Crossing, height: float, index: int, label: str, shown: bool) -> None:
    plot.add_scatter(
        x=[_at(crossing.at)],
        y=[height],
        error_x=_bars([crossing]),
        mode="markers",
        marker={
            "color": PALETTE[index % 8],
            "symbol": SYMBOLS[index % 8],
            "size": 12,
            "line": {"width": 1, "color": NEUTRAL},
        },
        showlegend=False,
        visible=True if shown else "legendonly",
        customdata=[[label, crossing.at, *crossing.ci]],
        hovertemplate="%{customdata[0]}: half of the way at step %{customdata[1]:.0f} [%{customdata[2]:.0f}, "
        "%{customdata[3]:.0f}]<extra></extra>",
    )


def _bars(crossings: Sequence[Crossing]) -> dict[str, Any]:
    """Error bars on a logarithmic axis of steps."""
    return {
        "array": [_at(each.ci[1]) - _at(each.at) for each in crossings],
        "arrayminus": [_at(each.at) - _at(each.ci[0]) for each in crossings],
        "thickness": 1.5,
    }


def _rescaled(estimate: Estimate, before: float, after: float) -> Estimate:
    value, *ends = ((number - before) / (after - before) for number in (estimate.value, *estimate.ci))
    return Estimate(value, min(ends), max(ends))


def _at(step: int | float) -> float:
    """A step's place on a logarithmic axis."""
    return max(float(step), ZERO)


def _log_steps(plot: go.Figure, steps: Sequence[int]) -> None:
    ticks = [10**power for power in range(8) if 10**power <= 2 * steps[-1]]
    ticks += [2 * tick for tick in ticks] + [5 * tick for tick in ticks]
    ticks = sorted(tick for tick in ticks if tick <= 1.1 * steps[-1])
    plot.update_xaxes(
        type="log", tickvals=[ZERO, *ticks], ticktext=["0", *(f"{tick:,}" for tick in ticks)], tickangle=0
    )


def _faint(colour: str) -> str:
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red},{green},{blue},.18)"
