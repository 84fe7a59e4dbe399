"""Attention maps of all heads, and the circuit that they form."""

import math
from typing import TYPE_CHECKING

import plotly.graph_objects as go
from plotly.colors import sample_colorscale
from plotly.subplots import make_subplots

from mesascope.analyses.claim import Figure
from mesascope.analyses.induction.effects import Effect
from mesascope.analyses.plots import NEUTRAL, PALETTE, SEQUENTIAL, styled

if TYPE_CHECKING:
    from mesascope.analyses.induction.induction import Induction

COLUMNS, PANEL = 4, 310
"""Maps in a row, and their height."""
STAGGER = 0.28
"""How far the heads of every other layer are drawn higher, lest lines to later layers run through them."""
DIVERGING = "RdBu"


def attention_maps(result: "Induction") -> Figure:
    """The mean pattern of every head, a layer at a time."""
    layers = list(dict.fromkeys(head.layer for head in result.heads))
    n_heads = len(result.heads) // len(layers)
    columns = min(COLUMNS, n_heads)
    rows = math.ceil(n_heads / columns)
    plot = make_subplots(
        rows=rows,
        cols=columns,
        subplot_titles=[f"head {head}" for head in range(n_heads)],
        vertical_spacing=0.22 / rows,
        horizontal_spacing=0.06,
    )
    shown = _first(result)
    for head, pattern in zip(result.heads, result.attention.patterns, strict=True):
        place = {"row": head.head // columns + 1, "col": head.head % columns + 1}
        plot.add_trace(_map(result, pattern.tolist(), visible=head.layer == shown, scale=head.head == 0), **place)
    styled(plot, "", "", height=130 + PANEL * rows)
    buttons = [
        {
            "label": f"layer {layer + 1}",
            "method": "update",
            "args": [{"visible": [head.layer == layer for head in result.heads]}],
        }
        for layer in layers
    ]
    if len(layers) > 1:
        menu = {
            "buttons": buttons,
            "active": layers.index(shown),
            "x": 0,
            "y": 1 + 75 / (PANEL * rows),
            "yanchor": "top",
        }
        plot.update_layout(updatemenus=[menu | {"xanchor": "left", "font": {"color": "#444"}, "bgcolor": "#f4f4f4"}])
    plot.update_layout(margin={"t": 100, "l": 60, "r": 90}, modebar={"orientation": "h"})
    plot.update_xaxes(title_text="key", tickangle=-90, showgrid=False, zeroline=False, automargin=True, nticks=12)
    plot.update_yaxes(autorange="reversed", showgrid=False, zeroline=False, automargin=True, nticks=12)
    plot.update_yaxes(title_text="query", col=1)
    signed = " Linear attention has signs: blue adds, red subtracts." if _signed(result) else ""
    return Figure(
        "induction-maps",
        "What every head attends to",
        "The mean over prompts of each head's attention, as a share of all (absolute) attention of the query's row; "
        "choose a layer above, and point at a cell for its tokens. A copy head is a line of single cells, y_i on x_i "
        "(or x_i on y_i). A query head is flat over the tokens of y (or of x), because what it attends to changes with "
        f"every prompt, and only correlations show it.{signed}",
        plot,
        equation="mean over prompts of a_ij / Σ_j |a_ij|",
        source="The shares are ours, for attention that has signs; of a softmax they are its pattern",
    )


def _signed(result: "Induction") -> bool:
    return bool((result.attention.patterns < -1e-6).any())


def _first(result: "Induction") -> int:
    """The layer that is shown at first: that of the highest copy score, or the first."""
    heads = [head for head in result.heads if head.copy is not None]
    return (
        max(heads, key=lambda head: head.copy.score.value if head.copy else 0.0).layer
        if heads
        else result.heads[0].layer
    )


def _map(result: "Induction", pattern: list[list[float]], visible: bool, scale: bool) -> go.Heatmap:
    names, signed = list(result.attention.roles.names), _signed(result)
    top = 1.0 if not signed else max(max(map(abs, row)) for row in pattern) or 1.0
    return go.Heatmap(
        x=names,
        y=names,
        z=[[round(value, 4) for value in row] for row in pattern],
        zmin=-top if signed else 0.0,
        zmax=top,
        colorscale=DIVERGING if signed else SEQUENTIAL,
        showscale=scale,
        colorbar={"title": "share"},
        visible=visible,
        hovertemplate="%{y} → %{x}: %{z:.4f}<extra></extra>",
    )


def circuit_drawing(result: "Induction") -> Figure:
    """Heads as nodes, cut paths as edges."""
    losses = result.losses
    assert losses is not None
    edges = [path for path in losses.paths if len(path.knockout.heads) == len(path.knockout.readers) == 1]
    edges = [path for path in edges if len(path.knockout.uses) == 3] or list(losses.paths[:1])
    plot = go.Figure()
    logs = [math.log10(max(path.factor.value, 1.0)) for path in edges]
    top = max([1e-9, *logs])
    for path, log in zip(edges, logs, strict=True):
        _add_edge(plot, path, log / top)
    _add_nodes(plot, result)
    n_heads = max(head.head for head in result.heads) + 1
    styled(plot, "layer", "head", height=max(340, 110 + 62 * n_heads))
    layers = sorted({head.layer + 1 for head in result.heads})
    plot.update_xaxes(tickvals=layers, range=[layers[0] - 0.5, layers[-1] + 0.5], showgrid=False)
    plot.update_yaxes(tickvals=list(range(n_heads)), range=[-0.5, n_heads - 0.2], showgrid=False)
    return Figure(
        "induction-circuit",
        "Who reads the copy heads",
        f"Heads by layer; {result.circuit.verdict}. A line is what one query head reads of one copy head, directly and "
        "through the MLPs in between, and its shade and width the factor on the loss if only that is replaced by its "
        "mean, on a logarithmic scale (point at its middle for the number, its interval, and each head's scores). "
        "Single paths may matter little where several heads read the same: the joint cut stands in the claims.",
        plot,
        shows=("induction.model",),
        equation="L(q, k, v of the reader ← without the writer's deviation from its mean) / L",
        source="Path patching: Wang et al. (2022), section 3.1; departure: mean outputs replace a corrupted prompt's",
    )


def _add_edge(plot: go.Figure, path: Effect, strength: float) -> None:
    colour = sample_colorscale(SEQUENTIAL, [0.9 - 0.85 * strength])[0]
    for layer, head in path.knockout.heads:
        for to_layer, to_head in path.knockout.readers:
            x, y = [layer + 1, to_layer + 1], [_height(layer, head), _height(to_layer, to_head)]
            middle = [sum(x) / 2], [sum(y) / 2]
            plot.add_scatter(
                x=x,
                y=y,
                mode="lines",
                line={"color": colour, "width": 1.5 + 5 * strength},
                hoverinfo="skip",
                showlegend=False,
            )
            plot.add_scatter(
                x=middle[0],
                y=middle[1],
                mode="markers",
                marker={"color": colour, "size": 7},
                text=[f"L{layer + 1}H{head} → L{to_layer + 1}H{to_head}: loss × {path.factor}"],
                hovertemplate="%{text}<extra></extra>",
                showlegend=False,
            )


def _height(layer: int, head: int) -> float:
    return head + STAGGER * (layer % 2)


def _add_nodes(plot: go.Figure, result: "Induction") -> None:
    copies, queries = ({head.label for head in heads} for heads in (result.copy_heads, result.query_heads))
    kinds = {
        "copy head": ([head for head in result.heads if head.label in copies], PALETTE[1], "square"),
        "query head": ([h for h in result.heads if h.label in queries and h.label not in copies], PALETTE[0], "circle"),
        "neither": ([h for h in result.heads if h.label not in copies | queries], NEUTRAL, "circle-open"),
    }
    for kind, (heads, colour, symbol) in kinds.items():
        plot.add_scatter(
            x=[head.layer + 1 for head in heads],
            y=[_height(*head.place) for head in heads],
            name=kind,
            mode="markers+text",
            text=[head.label for head in heads],
            textposition="top center",
            marker={"color": colour, "size": 16 if kind != "neither" else 10, "symbol": symbol},
            customdata=[[head.copy.score.value if head.copy else 0.0, head.query.correlation.value] for head in heads],
            hovertemplate="%{text}: copy score %{customdata[0]:.3f}, correlation %{customdata[1]:.3f}<extra></extra>",
        )
