"""Small multiples: one panel a learner, with its steps on the axis."""

import math
from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mesascope.analyses.plots import styled

N_LINES = 8
"""Most lines in one panel."""
LOG_FROM = 32
"""Steps from which on a family's axis is logarithmic."""


def small_multiples(names: Sequence[str], height: int) -> go.Figure:
    """An empty panel under each name, two in a row."""
    n_rows, gap = math.ceil(len(names) / 2), 110
    total = n_rows * height + (n_rows - 1) * gap
    figure = make_subplots(
        rows=n_rows,
        cols=min(2, len(names)),
        subplot_titles=list(names),
        horizontal_spacing=0.14,
        vertical_spacing=gap / total if n_rows > 1 else 0.0,
    )
    styled(figure, "", "", height=total + 150)
    figure.update_annotations(font_size=13)
    figure.update_layout(margin={"t": 90, "b": 60}, legend={"y": 1, "yref": "container", "yanchor": "top"})
    figure.update_xaxes(gridcolor="rgba(128,128,128,.25)", zeroline=False, title_standoff=4)
    figure.update_yaxes(gridcolor="rgba(128,128,128,.25)", zeroline=False, automargin=True)
    return figure


def place_of(index: int) -> dict[str, int]:
    """The panel of an index, as plotly wants it."""
    return {"row": index // 2 + 1, "col": index % 2 + 1}


def is_log(steps: Sequence[int]) -> bool:
    """Whether steps go so far that their axis is logarithmic."""
    return steps[-1] > LOG_FROM


def positions(steps: Sequence[int]) -> list[float]:
    """Where step counts stand on their axis: k, or log2 k."""
    return [math.log2(max(k, 0.5)) if is_log(steps) else float(k) for k in steps]


def step_axis(figure: go.Figure, steps: Sequence[int], place: dict[str, int]) -> None:
    """Ticks at step counts, at powers of two or four on a logarithmic axis."""
    figure.update_xaxes(title_text="steps", **place)
    if is_log(steps):
        stride = 2 if steps[-1] > 256 else 1
        powers = range(math.ceil(math.log2(max(steps[0], 1))), math.floor(math.log2(steps[-1])) + 1, stride)
        figure.update_xaxes(tickvals=list(powers), ticktext=[str(2**j) for j in powers], **place)
