"""The report's plots, in one style that reads in light, dark, print and by colour-blind eyes."""

import math
from collections.abc import Mapping, Sequence
from html import escape

import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from mesascope.probes import Estimate

# Okabe & Ito (2008): distinguishable with any common colour blindness. Black is left to the page's own ink.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999933", "#882255")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "cross", "star", "triangle-down")
DASHES = ("solid", "dash", "dot", "dashdot")
NEUTRAL = "#888888"
SEQUENTIAL = "Cividis"


def styled(figure: go.Figure, x_title: str, y_title: str, height: int = 420) -> go.Figure:
    """Titles, margins and a transparent ground, so that the page's own light or dark shows through."""
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 70, "r": 45, "t": 20, "b": 60},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 13, "color": NEUTRAL},
        modebar={"orientation": "v", "bgcolor": "rgba(0,0,0,0)", "color": NEUTRAL},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        xaxis={"title": x_title, "gridcolor": "rgba(128,128,128,.25)", "zeroline": False},
        yaxis={"title": y_title, "gridcolor": "rgba(128,128,128,.25)", "zeroline": False},
    )
    return figure


def literal(text: str) -> str:
    """Text that Plotly shows as it is: what looks like a tag in a checkpoint's name is none."""
    return escape(text, quote=False)


def with_band(labels: Sequence[str], series: Mapping[str, Sequence[Estimate]], y_title: str) -> go.Figure:
    """Estimates with their intervals, one marker per label and series, side by side."""
    figure = go.Figure()
    width = 0.5 / max(1, len(series) - 1) if len(series) > 1 else 0.0
    for index, (name, estimates) in enumerate(series.items()):
        offset = (index - (len(series) - 1) / 2) * width
        figure.add_scatter(
            x=[position + offset for position in range(len(labels))],
            y=[e.value for e in estimates],
            error_y={
                "array": [e.high - e.value for e in estimates],
                "arrayminus": [e.value - e.low for e in estimates],
                "thickness": 1.5,
            },
            customdata=[[label, e.low, e.high] for label, e in zip(labels, estimates, strict=True)],
            hovertemplate="%{customdata[0]}: %{y:.4f} [%{customdata[1]:.4f}, %{customdata[2]:.4f}]",
            name=name,
            mode="markers",
            marker={"color": PALETTE[index % 8], "symbol": SYMBOLS[index % 8], "size": 9},
        )
    styled(figure, "", y_title)
    figure.update_xaxes(tickvals=list(range(len(labels))), ticktext=list(labels))
    return figure


def layer_lines(
    x: Sequence[int] | Sequence[float],
    layers: Mapping[str, Sequence[float]],
    references: Mapping[str, Sequence[float]],
    x_title: str,
    y_title: str,
) -> go.Figure:
    """One line per layer on a sequential colour scale (early pale, late dark), references in neutral dashes."""
    figure = go.Figure()
    mode = "lines+markers" if len(x) > 1 else "markers"
    shades = sample_colorscale(SEQUENTIAL, [0.9 - 0.85 * i / max(1, len(layers) - 1) for i in range(len(layers))])
    for index, ((name, values), colour) in enumerate(zip(layers.items(), shades, strict=True)):
        figure.add_scatter(
            x=list(x),
            y=list(values),
            name=name,
            mode=mode,
            line={"color": colour},
            marker={"symbol": SYMBOLS[index % 8], "size": 5},
        )
    for index, (name, values) in enumerate(references.items()):
        line = {"color": NEUTRAL, "dash": DASHES[1 + index % 3], "width": 2.5}
        figure.add_scatter(x=list(x), y=list(values), name=name, mode=mode, line=line, marker={"size": 3})
    styled(figure, x_title, y_title)
    return log_axis(figure, [*layers.values(), *references.values()])


def lines(
    x: Sequence[int] | Sequence[float],
    series: Mapping[str, Sequence[float]],
    x_title: str,
    y_title: str,
    log: bool = False,
) -> go.Figure:
    """One line per series, told apart by colour, dash and marker."""
    figure = go.Figure()
    for index, (name, values) in enumerate(series.items()):
        figure.add_scatter(
            x=list(x),
            y=list(values),
            name=name,
            mode="lines+markers" if len(x) > 1 else "markers",
            line={"color": PALETTE[index % 8], "dash": DASHES[index % 4]},
            marker={"symbol": SYMBOLS[index % 8], "size": 6},
        )
    styled(figure, x_title, y_title)
    return log_axis(figure, list(series.values())) if log else figure


def log_axis(figure: go.Figure, values: Sequence[Sequence[float]]) -> go.Figure:
    """A logarithmic y axis that is not stretched by numbers that are zero but for rounding."""
    positive = [value for row in values for value in row if value > 0]
    top = math.log10(max(positive)) if positive else 0.0
    bottom = max(math.log10(min(positive)), top - 5) if positive else -1.0
    figure.update_yaxes(type="log", range=[bottom - 0.1, top + 0.1], exponentformat="power", dtick=1)
    return figure


def heatmap(
    x: Sequence[int] | Sequence[float] | Sequence[str],
    y: Sequence[str],
    values: Sequence[Sequence[float]],
    x_title: str,
    colour_title: str,
    low: float = 0.0,
    text: bool = False,
) -> go.Figure:
    """Values in cells, the first row at the bottom; written out in each cell if `text`."""
    figure = go.Figure(
        go.Heatmap(
            x=list(x),
            y=list(y),
            z=[list(row) for row in values],
            zmin=low,
            zmax=1.0,
            colorscale=SEQUENTIAL,
            colorbar={"title": colour_title},
            hovertemplate="%{y}, %{x}: %{z:.4f}<extra></extra>",
            texttemplate="%{z:.3f}" if text else None,
        )
    )
    figure = styled(figure, x_title, "")
    figure.update_layout(margin={"r": 110}, modebar={"orientation": "h"})
    figure.update_yaxes(automargin=True)
    figure.update_xaxes(automargin=True, title_standoff=12)
    return figure
