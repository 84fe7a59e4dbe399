"""Convergence, drawn: errors over the layers of a model beside errors over the steps of learners."""

import math
from collections.abc import Sequence

import numpy as np
from plotly.colors import sample_colorscale

from mesascope.analyses.claim import Figure
from mesascope.analyses.plots import NEUTRAL, PALETTE, SEQUENTIAL
from mesascope.analyses.similarity.convergence import Convergence
from mesascope.analyses.similarity.course import Course
from mesascope.analyses.similarity.panels import N_LINES, place_of, positions, small_multiples, step_axis


def draw_convergence(found: Convergence, courses: Sequence[Course]) -> list[Figure]:
    """Late errors, then errors by point; none where there are no layers, or no learner makes steps."""
    if len(found.layers) == 1 or not courses:
        return []
    by_layer = {label: found.relative(errors) for label, errors in found.layers.items()}
    figure = small_multiples(["the model", *(course.name for course in courses)], height=240)
    least, y_range = min(by_layer.values()), _range(list(by_layer.values()))
    figure.add_scatter(
        x=list(by_layer), y=list(by_layer.values()), mode="lines+markers", line={"color": PALETTE[1]}, **place_of(0)
    )
    for index, course in enumerate(courses, start=1):
        place, steps = place_of(index), course.sweep.steps
        figure.add_scatter(
            x=positions(steps),
            y=[found.relative(errors) for errors in found.iterates[course.family]],
            mode="lines+markers",
            marker={"size": 4},
            line={"color": PALETTE[0]},
            text=[f"k={k}" for k in steps],
            hovertemplate="%{text}: %{y:.3g}<extra></extra>",
            **place,
        )
        step_axis(figure, steps, place)
        figure.add_hline(y=least, line={"dash": "dash", "color": NEUTRAL}, **place)
    figure.update_yaxes(type="log", range=y_range, exponentformat="power", dtick=1)
    figure.update_layout(showlegend=False)
    late = [found.points[i] for i in found.late]
    over = f"after {late[0]} points" if len(late) == 1 else f"over {late[0]} to {late[-1]} points seen"
    depth = Figure(
        "similarity-convergence",
        "Convergence of layers beside convergence of learners",
        f"Mean squared error {over}, relative to that of predicting zero: of each layer's reading, and of each "
        "learner's iterates. The dashed line is the model's least error. Compare how many layers and how many steps it "
        "takes to come down: a learner that needs many more steps than there are layers must be run several steps to a "
        "layer, if it is what is run.",
        figure,
        equation="E(ŷ − y)² / E y²",
        source="Fu et al. (2024), section 4; departure: relative to predicting zero",
    )
    return [depth, *_by_point(found, courses)]


def _by_point(found: Convergence, courses: Sequence[Course]) -> list[Figure]:
    if len(found.points) == 1:
        return []
    panels: list[tuple[str, dict[str, Sequence[float]]]] = [("the model", dict(found.layers))]
    for course in courses:
        errors = found.iterates[course.family]
        steps = np.maximum(course.sweep.steps, 1)
        wanted = np.geomspace(steps[0], steps[-1], N_LINES)
        picks = np.unique([np.abs(np.log(steps) - k).argmin() for k in np.log(wanted)]).tolist()
        chosen: dict[str, Sequence[float]] = {f"k={course.sweep.steps[i]}": errors[i] for i in picks}
        panels.append(
            (f"{course.name}<br><sub>k = {', '.join(str(course.sweep.steps[i]) for i in picks)}</sub>", chosen)
        )
    figure = small_multiples([name for name, _ in panels], height=260)
    relative = {
        name: [[e / z for e, z in zip(row, found.null, strict=True)] for row in rows.values()] for name, rows in panels
    }
    for index, (name, rows) in enumerate(panels):
        shades = sample_colorscale(SEQUENTIAL, [0.9 - 0.85 * i / max(1, len(rows) - 1) for i in range(len(rows))])
        for label, values, colour in zip(rows, relative[name], shades, strict=True):
            figure.add_scatter(
                x=list(found.points), y=values, name=label, mode="lines", line={"color": colour}, **place_of(index)
            )
    figure.update_yaxes(
        type="log", range=_range(np.ravel(relative["the model"]).tolist()), exponentformat="power", dtick=1
    )
    figure.update_xaxes(title_text="points seen")
    figure.update_layout(showlegend=False)
    guide = (
        "Mean squared error by prefix length, relative to that of predicting zero: of every layer (pale to dark, input "
        "to output) and of learners after more and more steps (pale to dark). What comes down in the same way looks "
        "the same."
    )
    return [
        Figure(
            "similarity-convergence-points",
            "Error by prefix length, of layers and of learners",
            guide,
            figure,
            equation="E(ŷ<sub>t</sub> − y<sub>t</sub>)² / E y<sub>t</sub>²",
            source="Fu et al. (2024), section 4; departure: relative to predicting zero",
        )
    ]


def _range(values: Sequence[float]) -> list[float]:
    """A logarithmic range around what the model reaches: learners on noiseless prompts go on to 1e-30."""
    positive = [value for value in values if value > 0]
    return [math.log10(min(positive)) - 1, max(math.log10(max(positive)), 0.0) + 0.2]
