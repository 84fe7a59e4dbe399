"""Steps, drawn: how similar each layer is to a learner after so many, and how the best number grows with the layer."""

import math
from itertools import pairwise

import numpy as np
import plotly.graph_objects as go

from mesascope.analyses.claim import Figure
from mesascope.analyses.plots import PALETTE, SEQUENTIAL
from mesascope.analyses.similarity.comparison import Comparison
from mesascope.analyses.similarity.course import Course
from mesascope.analyses.similarity.panels import is_log, place_of, positions, small_multiples, step_axis
from mesascope.analyses.similarity.score_figures import CANNOT, EQUATION, SOURCE, score_name

LAW_STYLES = {"linear": ("dash", PALETTE[0]), "exponential": ("dot", PALETTE[2])}
"""Dash and colour of the line by law."""


def draw_heat(found: Comparison) -> list[Figure]:
    """Similarity by layer and step, a panel a family; none where no family makes steps."""
    if not found.courses:
        return []
    figure = small_multiples([course.name for course in found.courses], height=60 + 26 * len(found.layers))
    values = np.concatenate([np.ravel(course.similarities) for course in found.courses])
    low = math.floor(10 * max(0.0, float(np.quantile(values, 0.1)))) / 10
    for index, course in enumerate(found.courses):
        _add_heat(figure, course, place_of(index))
    bar = {"title": "similarity", "thickness": 14, "lenmode": "pixels", "len": 260, "y": 1, "yanchor": "top"}
    figure.update_layout(coloraxis={"colorscale": SEQUENTIAL, "cmin": low, "cmax": 1.0, "colorbar": bar})
    figure.update_layout(margin={"l": 80, "r": 110}, modebar={"orientation": "h"})
    guide = (
        "Each row is a layer, each column the learner after so many steps; stars mark each layer's best match. Mean "
        f"similarity on the {found.n_tune:,} tuning prompts. The step size is the one, of those tried, whose best "
        "matches are the most similar over all layers. A ridge that moves right from row to row says that deeper "
        "layers are like later iterates of this learner, or of anything that converges as fast. Stars on the right "
        "edge may belong further right. "
    )
    return [
        Figure(
            f"similarity-{found.by}-heat",
            f"{score_name(found.by)} by layer and steps",
            guide + CANNOT[found.by],
            figure,
            equation=EQUATION[found.by],
            source=SOURCE[found.by],
        ),
    ]


def _add_heat(figure: go.Figure, course: Course, place: dict[str, int]) -> None:
    steps, x = course.sweep.steps, positions(course.sweep.steps)
    middles = [(a + b) / 2 for a, b in pairwise(x)]
    where = dict(zip(steps, x, strict=True))
    figure.add_heatmap(
        x=[2 * x[0] - middles[0], *middles, 2 * x[-1] - middles[-1]],
        y=list(course.labels),
        z=[list(row) for row in course.similarities],
        customdata=[list(steps)] * len(course.labels),
        coloraxis="coloraxis",
        hovertemplate="%{y}, k=%{customdata}: %{z:.4f}<extra></extra>",
        **place,
    )
    figure.add_scatter(
        x=[where[k] for k in course.best_steps],
        y=list(course.labels),
        mode="markers",
        marker={"symbol": "star", "size": 11, "color": PALETTE[1], "line": {"color": "white", "width": 1}},
        hovertemplate="%{y}: best match k=%{text}<extra></extra>",
        text=[str(k) for k in course.best_steps],
        showlegend=False,
        **place,
    )
    step_axis(figure, steps, place)


def draw_steps(found: Comparison) -> list[Figure]:
    """The best number of steps by layer, a panel a family; none where no layer is above its floor."""
    courses = [course for course in found.courses if course.depths]
    if len(found.layers) == 1 or not courses:
        return []
    names = []
    for course in courses:
        r2 = ", ".join(f"{law} R² {fit[2]:.3f}" for law, fit in course.fits.items())
        names.append(course.family + (f"<br><sub>{r2}</sub>" if r2 else ""))
    figure = small_multiples(names, height=260)
    for index, course in enumerate(courses):
        _add_steps(figure, course, place_of(index), first=index == 0)
    figure.update_yaxes(title_text="steps")
    guide = (
        "The best-matching number of steps of each layer that is above its floor, with a straight line through k and "
        "one through log2 k. Newton's k grows by one where gradient descent's doubles: a straight line for Newton and "
        "an exponential for gradient descent are <b>one statement</b>, not two, and cannot tell the two apart. R² of "
        "the two lines are of different quantities, so they are not to be compared either."
    )
    return [
        Figure(
            f"similarity-{found.by}-steps",
            f"Best-matching steps by layer, by {found.by}",
            guide,
            figure,
            equation=EQUATION[found.by],
            source=SOURCE[found.by],
        )
    ]


def _add_steps(figure: go.Figure, course: Course, place: dict[str, int], first: bool) -> None:
    x = np.linspace(course.depths[0], course.depths[-1], 50)
    figure.add_scatter(
        x=list(course.depths),
        y=list(course.steps_by_depth),
        name="best match",
        mode="markers",
        marker={"size": 9, "color": PALETTE[1]},
        showlegend=first,
        legendgroup="best",
        **place,
    )
    for law, (slope, intercept, _) in course.fits.items():
        dash, colour = LAW_STYLES[law]
        y = slope * x + intercept if law == "linear" else 2 ** (slope * x + intercept)
        figure.add_scatter(
            x=list(x[y > 0]),
            y=list(y[y > 0]),
            name=f"{law} growth",
            mode="lines",
            line={"dash": dash, "color": colour},
            showlegend=first,
            legendgroup=law,
            **place,
        )
    figure.update_xaxes(title_text="layer", dtick=1, **place)
    if is_log(course.sweep.steps):
        top = math.log10(course.sweep.steps[-1])
        figure.update_yaxes(type="log", dtick=math.log10(4), tickformat="d", range=[-0.2, top + 0.3], **place)
    else:
        figure.update_yaxes(rangemode="tozero", **place)
