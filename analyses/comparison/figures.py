"""Differences and numbers of checkpoints, side by side."""

from glob import escape as verbatim
from typing import TYPE_CHECKING

import plotly.graph_objects as go

from mesascope.analyses.claim import Figure
from mesascope.analyses.comparison.difference import DIFFERS, NONE, OPEN, SAME, Difference
from mesascope.analyses.performance import TOLERANCE
from mesascope.analyses.plots import NEUTRAL, PALETTE, SYMBOLS, literal, styled
from mesascope.probes import Estimate

if TYPE_CHECKING:
    from mesascope.analyses.comparison.comparison import Comparison

COLOURS = {DIFFERS: PALETTE[1], OPEN: NEUTRAL, NONE: PALETTE[0], SAME: PALETTE[2]}
LOSS = "Garg et al. (2022), with predicting zero as the unit"
ROW, MARGINS = 30, 150
"""Pixels for each number, and around them."""


def draw(comparison: "Comparison") -> tuple[Figure, ...]:
    """How far predictions are apart; for each analysis, differences with intervals, then the numbers side by side."""
    groups: dict[str, list[Difference]] = {}
    for difference in comparison.differences:
        groups.setdefault(difference.label.partition(":")[0], []).append(difference)
    pairs = (figure for name, group in groups.items() for figure in (_forest(name, group), _values(name, group)))
    return (*_predictions(comparison), *pairs)


def _predictions(comparison: "Comparison") -> list[Figure]:
    names = comparison.checkpoints[1:]
    distances = [comparison.paired.distance(index) for index in range(1, len(comparison.checkpoints))]
    found = [(name, distance) for name, distance in zip(names, distances, strict=True) if distance is not None]
    if not found:
        return []
    plot = go.Figure()
    _bars(plot, "", [distance for _, distance in found], list(range(len(found))), PALETTE[0], 0)
    plot.update_traces(
        customdata=[[literal(name), *distance.ci] for name, distance in found],
        hovertemplate="%{customdata[0]}: %{x:.5g} [%{customdata[1]:.5g}, %{customdata[2]:.5g}]<extra></extra>",
    )
    plot.add_vline(x=TOLERANCE, line={"dash": "dash", "color": NEUTRAL})
    styled(plot, "distance of predictions (loss of predicting zero is 1)", "", height=MARGINS + ROW * len(found))
    ticks = [literal(name) for name, _ in found]
    plot.update_yaxes(tickvals=list(range(len(found))), ticktext=ticks, range=[len(found) - 0.5, -0.5], automargin=True)
    plot.update_xaxes(rangemode="tozero")
    plot.update_layout(showlegend=False)
    return [
        Figure(
            "comparison-predictions",
            "How far predictions are apart",
            "The mean squared distance of each checkpoint's predictions from the reference's on the same prompts, in "
            "units of the loss of predicting zero, with its 95% interval over prompts. Dashed is "
            f"{TOLERANCE:g}: below it two models count as predicting the same.",
            plot,
            shows=tuple(verbatim(f"comparison.{name}") for name, _ in found),
            equation="E(ŷ − ŷ<sub>ref</sub>)² / E y²",
            source="the measure is ours; the interval is a delete-a-block jackknife over prompts",
        )
    ]


def _forest(name: str, group: list[Difference]) -> Figure:
    plot = go.Figure()
    checkpoints = list(dict.fromkeys(difference.checkpoint for difference in group))
    rows = _rows(group)
    for index, checkpoint in enumerate(checkpoints):
        for verdict, colour in COLOURS.items():
            own = [d for d in group if (d.checkpoint, d.verdict) == (checkpoint, verdict)]
            if own:
                title = verdict if len(checkpoints) == 1 else f"{literal(checkpoint)}: {verdict}"
                deltas = [_shown(d) for d in own]
                shift = _shift(index, len(checkpoints))
                _points(plot, title, deltas, [rows[d.label] + shift for d in own], own, colour, index)
    plot.add_vline(x=0, line={"dash": "dash", "color": NEUTRAL})
    _finish(plot, rows, f"difference to {literal(group[0].reference)}")
    return Figure(
        f"comparison-{_slug(name)}-differences",
        f"Differences in {name}",
        "Each row is one number: the checkpoint's minus the reference's, with its 95% interval. That of the loss is "
        "paired by prompt. The others are made from the two intervals alone, d ± √(u₁² + u₂²) with the half-width of "
        "either on the side that matters (Zou and Donner, 2008), too wide where the same prompts are hard for both. "
        "Colours tell what follows when all rows are judged together at a false discovery rate of 5% (Benjamini and "
        'Yekutieli, 2001): an interval that leaves zero by little may still be "undetermined". "No difference found" '
        "means that it is below 5% of the number itself.",
        plot,
        shows=tuple(verbatim(difference.claim().id) for difference in group),
        equation="d = v − v<sub>ref</sub>",
        source="Zou and Donner (2008) for the intervals, Benjamini and Yekutieli (2001) for the verdicts",
    )


def _values(name: str, group: list[Difference]) -> Figure:
    plot, rows = go.Figure(), _rows(group)
    checkpoints = list(dict.fromkeys(d.checkpoint for d in group))
    first = [d for d in group if d.checkpoint == checkpoints[0]]
    series = {group[0].reference: [(d, d.values[1]) for d in first]}
    series |= {c: [(d, d.values[0]) for d in group if d.checkpoint == c] for c in checkpoints}
    for index, (checkpoint, found) in enumerate(series.items()):
        y = [rows[d.label] + _shift(index, len(series)) for d, _ in found]
        values = [value if isinstance(value, Estimate) else Estimate(value, value, value) for _, value in found]
        _points(plot, literal(checkpoint), values, y, [d for d, _ in found], PALETTE[index % 8], index)
    _finish(plot, rows, name)
    return Figure(
        f"comparison-{_slug(name)}-values",
        f"{name.capitalize()}, side by side",
        "The same numbers as they are, each with its own 95% interval over prompts. Intervals of two checkpoints may "
        "overlap and the difference be real all the same, for both were measured on the same prompts: read the figure "
        "of differences.",
        plot,
        equation="v of each checkpoint",
        source=f"that of {name}, in a report of one checkpoint" if name != "loss" else LOSS,
    )


def _points(
    plot: go.Figure,
    name: str,
    values: list[Estimate],
    y: list[float],
    differences: list[Difference],
    colour: str,
    symbol: int,
) -> None:
    _bars(plot, name, values, y, colour, symbol)
    plot.data[-1].update(
        customdata=[[d.label, v.low, v.high, d.verdict] for d, v in zip(differences, values, strict=True)],
        hovertemplate="%{customdata[0]}: %{x:.5g} [%{customdata[1]:.5g}, %{customdata[2]:.5g}], %{customdata[3]}",
    )


def _bars(
    plot: go.Figure, name: str, values: list[Estimate], y: list[float] | list[int], colour: str, symbol: int
) -> None:
    plot.add_scatter(
        x=[value.value for value in values],
        y=y,
        error_x={
            "array": [value.high - value.value for value in values],
            "arrayminus": [value.value - value.low for value in values],
            "thickness": 1.5,
        },
        name=name,
        mode="markers",
        marker={"color": colour, "symbol": SYMBOLS[symbol % 8], "size": 9},
    )


def _finish(plot: go.Figure, rows: dict[str, int], x_title: str) -> None:
    styled(plot, x_title, "", height=MARGINS + ROW * len(rows))
    names = [label.partition(": ")[2] or label for label in rows]
    plot.update_yaxes(tickvals=list(rows.values()), ticktext=names, range=[len(rows) - 0.5, -0.5], automargin=True)
    plot.update_layout(showlegend=True)


def _rows(group: list[Difference]) -> dict[str, int]:
    return {label: row for row, label in enumerate(dict.fromkeys(difference.label for difference in group))}


def _shift(index: int, n: int) -> float:
    return 0.0 if n == 1 else 0.5 * (index / (n - 1) - 0.5)


def _shown(difference: Difference) -> Estimate:
    """What has no interval is a point."""
    if difference.same:
        return Estimate(0.0, 0.0, 0.0)
    delta = difference.delta
    return delta if isinstance(delta, Estimate) else Estimate(delta, delta, delta)


def _slug(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name)
