"""The figures of a similarity: scores with floors, heat maps over steps, matching steps by layer, convergence."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go
from plotly.colors import sample_colorscale
from plotly.subplots import make_subplots

from mesascope.analyses.claim import Figure
from mesascope.analyses.plots import NEUTRAL, PALETTE, SEQUENTIAL, heatmap, lines, styled, with_band
from mesascope.probes import Estimate

if TYPE_CHECKING:
    from mesascope.analyses.similarity import Comparison, Convergence, Course, Similarity

N_LINES = 8
"""Most lines in one panel."""
LOG_FROM = 32
"""Steps from which on a family's axis is logarithmic."""
CANNOT = {
    "errors": "It cannot name the algorithm: learners are alike each other too. Exact Newton against its best-matching "
    "gradient descent scores .98 to 1.00, and the zero predictor .92 against one Newton step.",
    "weights": "It cannot name the algorithm: all that learn the same function hold nearly the same weights, as the "
    "ceiling shows.",
}
"""What the score cannot do; the numbers are from Fu's task (methods, sections 8 and 14)."""


def draw(result: "Similarity") -> tuple[Figure, ...]:
    """Every figure, those by errors first."""
    figures: list[Figure] = []
    for found in result.comparisons:
        figures += [_families(result, found), *_ceiling(found), *_layers(found), *_heat(found), *_steps(found)]
    if result.weights is not None:
        figures += _prefixes(result.weights, result.prefixes)
    return (*figures, *_convergence(result.convergence, result.errors.courses))


def _what(by: str) -> str:
    return "Similarity of errors" if by == "errors" else "Similarity of induced weights"


def _families(result: "Similarity", found: "Comparison") -> Figure:
    matches = found.output.matches
    series: dict[str, Sequence[Estimate]] = {"best match": [match.similarity for match in matches]}
    floors = {
        "zero predictor": [_exactly(match.zero) for match in matches],
        "another prompt": [_exactly(match.shuffled) for match in matches],
    }
    if all(match.untrained for match in matches):
        floors["untrained twins"] = [match.untrained for match in matches if match.untrained]
    if found.by == "errors":
        convention = "with" if result.empty_prefix else "without"
        what = f"the cosine of its errors and theirs over points, {convention} the empty prefix"
        source = "definition 2"
    else:
        what = (
            "the cosine of its induced weights (least squares of its predictions on a frame of queries and their "
            "negatives after a fixed prefix) "
            f"and theirs, after {', '.join(map(str, result.prefixes))} points"
        )
        source = "definition 3"
    return Figure(
        f"similarity-{found.by}",
        f"{_what(found.by)} of the output to every family",
        f"Each family's best-matching member, chosen on {found.n_tune:,} prompts and scored on {found.n_prompts:,} "
        f"others: {what}, averaged over prompts, with 95% intervals (delete-a-block jackknife). Members stand on a "
        "grid of step sizes and penalties; one between its points would score a percent or so more. Floors, against "
        "the same member: predicting zero, the model's own predictions for another prompt, and the untrained twins "
        "(mean, with the interval in which one more would fall). Only the height above the floors says anything. "
        f"{CANNOT[found.by]} "
        f"Source: Fu et al. (2024), {source}.",
        _with_room(with_band([match.family for match in matches], {**series, **floors}, _what(found.by).lower())),
    )


def _with_room(figure: go.Figure) -> go.Figure:
    """Space for long names under the axis."""
    return figure.update_xaxes(automargin=True, title_standoff=8).update_layout(height=460)


def _exactly(value: float) -> Estimate:
    return Estimate(value, value, value)


def _ceiling(found: "Comparison") -> list[Figure]:
    matches = found.output.matches
    if len(matches) < 2:
        return []
    rows = [[match.similarity.value for match in matches], *reversed(found.ceiling)]
    names = ["the output", *(f"exact {match.family}" for match in reversed(matches))]
    plot = heatmap(
        [match.family for match in matches], names, rows, "matched with the best of", "similarity", low=0.5, text=True
    )
    _with_room(plot).update_layout(height=max(420, 180 + 30 * len(names)))
    return [
        Figure(
            f"similarity-{found.by}-ceiling",
            f"Ceiling: the learners themselves, through the same pipeline, by {found.by}",
            "Each upper row takes an exact learner, the family's best match of the output, as if it were the model. "
            "Off the diagonal stands how well the best of another family imitates it. The lowest row is the model. "
            "Two families whose rows look alike cannot be told apart by this score, whatever the model is; and where "
            "the model is no closer to any of them than they are to each other, it may be none of them.",
            plot,
        )
    ]


def _layers(found: "Comparison") -> list[Figure]:
    if len(found.layers) == 1:
        return []
    families = [match.family for match in found.output.matches]
    rows = []
    for layer in found.layers:
        by_family = {match.family: match.similarity.value for match in layer.matches}
        rows.append([*(by_family[family] for family in families), layer.best.floor])
    plot = heatmap(
        [*families, "floor of the best"], [layer.label for layer in found.layers], rows, "", "similarity", text=True
    )
    _with_room(plot)
    guide = (
        "Best match of every family, chosen for each layer by itself; the last column is the highest floor of the "
        "layer's best match. Layers that predict nothing match every learner's first small step, as their floor does."
    )
    return [Figure(f"similarity-{found.by}-layers", f"{_what(found.by)}, layer by layer", guide, plot)]


def _heat(found: "Comparison") -> list[Figure]:
    if not found.courses:
        return []
    figure = _panels([course.name for course in found.courses], height=60 + 26 * len(found.layers))
    values = np.concatenate([np.ravel(course.similarities) for course in found.courses])
    low = math.floor(10 * max(0.0, float(np.quantile(values, 0.1)))) / 10
    for index, course in enumerate(found.courses):
        place, log = _place(index), _is_log(course.sweep.steps)
        steps, x = course.sweep.steps, _positions(course.sweep.steps)
        middles = [(a + b) / 2 for a, b in pairwise(x)]
        edges = [2 * x[0] - middles[0], *middles, 2 * x[-1] - middles[-1]]
        figure.add_heatmap(
            x=edges,
            y=list(course.labels),
            z=[list(row) for row in course.similarities],
            customdata=[list(steps)] * len(course.labels),
            coloraxis="coloraxis",
            hovertemplate="%{y}, k=%{customdata}: %{z:.4f}<extra></extra>",
            **place,
        )
        figure.add_scatter(
            x=[_positions([k], log)[0] for k in course.best_steps],
            y=list(course.labels),
            mode="markers",
            marker={"symbol": "star", "size": 11, "color": PALETTE[1], "line": {"color": "white", "width": 1}},
            hovertemplate="%{y}: best match k=%{text}<extra></extra>",
            text=[str(k) for k in course.best_steps],
            showlegend=False,
            **place,
        )
        _step_axis(figure, steps, place)
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
            f"similarity-{found.by}-heat", f"{_what(found.by)} by layer and steps", guide + CANNOT[found.by], figure
        ),
    ]


def _steps(found: "Comparison") -> list[Figure]:
    courses = [course for course in found.courses if course.depths]
    if len(found.layers) == 1 or not courses:
        return []
    laws = {"linear": ("dash", PALETTE[0]), "exponential": ("dot", PALETTE[2])}
    names = []
    for course in courses:
        fits = {law: course.growth(law) for law in laws}
        r2 = ", ".join(f"{law} R² {fit[2]:.3f}" for law, fit in fits.items() if fit is not None)
        names.append(course.family + (f"<br><sub>{r2}</sub>" if r2 else ""))
    figure = _panels(names, height=260)
    for index, course in enumerate(courses):
        place, x = _place(index), np.linspace(course.depths[0], course.depths[-1], 50)
        figure.add_scatter(
            x=list(course.depths),
            y=list(course.steps_by_depth),
            name="best match",
            mode="markers",
            marker={"size": 9, "color": PALETTE[1]},
            showlegend=index == 0,
            legendgroup="best",
            **place,
        )
        for law, (dash, colour) in laws.items():
            if (fit := course.growth(law)) is None:
                continue
            y = fit[0] * x + fit[1] if law == "linear" else 2 ** (fit[0] * x + fit[1])
            figure.add_scatter(
                x=list(x[y > 0]),
                y=list(y[y > 0]),
                name=f"{law} growth",
                mode="lines",
                line={"dash": dash, "color": colour},
                showlegend=index == 0,
                legendgroup=law,
                **place,
            )
        figure.update_xaxes(title_text="layer", dtick=1, **place)
        if _is_log(course.sweep.steps):
            top = math.log10(course.sweep.steps[-1])
            figure.update_yaxes(type="log", dtick=math.log10(4), tickformat="d", range=[-0.2, top + 0.3], **place)
        else:
            figure.update_yaxes(rangemode="tozero", **place)
    figure.update_yaxes(title_text="steps")
    guide = (
        "The best-matching number of steps of each layer that is above its floor, with a straight line through k and "
        "one through log2 k. Newton's k grows by one where gradient descent's doubles: a straight line for Newton and "
        "an exponential for gradient descent are <b>one statement</b>, not two, and cannot tell the two apart. R² of "
        "the two lines are of different quantities, so they are not to be compared either."
    )
    return [Figure(f"similarity-{found.by}-steps", f"Best-matching steps by layer, by {found.by}", guide, figure)]


def _prefixes(found: "Comparison", prefixes: Sequence[int]) -> list[Figure]:
    if len(prefixes) < 2:
        return []
    shown = dict(list(found.by_part.items())[:N_LINES])
    guide = (
        "The cosine of the output's induced weights with those of each family's best match, prefix by prefix. With as "
        "many points as dimensions, least squares without a penalty is at its most erratic, and smoother learners are "
        "the more alike."
    )
    plot = lines(list(prefixes), shown, "points seen before the query", "similarity of induced weights")
    return [Figure("similarity-weights-prefixes", "Similarity of induced weights by prefix length", guide, plot)]


def _convergence(found: "Convergence", courses: Sequence["Course"]) -> list[Figure]:
    if len(found.layers) == 1 or not courses:
        return []
    by_layer = {label: found.relative(errors) for label, errors in found.layers.items()}
    figure = _panels(["the model", *(course.name for course in courses)], height=240)
    least, y_range = min(by_layer.values()), _range(list(by_layer.values()))
    figure.add_scatter(
        x=list(by_layer), y=list(by_layer.values()), mode="lines+markers", line={"color": PALETTE[1]}, **_place(0)
    )
    for index, course in enumerate(courses, start=1):
        place, steps = _place(index), course.sweep.steps
        figure.add_scatter(
            x=_positions(steps),
            y=[found.relative(errors) for errors in found.iterates[course.family]],
            mode="lines+markers",
            marker={"size": 4},
            line={"color": PALETTE[0]},
            text=[f"k={k}" for k in steps],
            hovertemplate="%{text}: %{y:.3g}<extra></extra>",
            **place,
        )
        _step_axis(figure, steps, place)
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
    )
    return [depth, *_by_point(found, courses)]


def _by_point(found: "Convergence", courses: Sequence["Course"]) -> list[Figure]:
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
    figure = _panels([name for name, _ in panels], height=260)
    relative = {
        name: [[e / z for e, z in zip(row, found.null, strict=True)] for row in rows.values()] for name, rows in panels
    }
    for index, (name, rows) in enumerate(panels):
        shades = sample_colorscale(SEQUENTIAL, [0.9 - 0.85 * i / max(1, len(rows) - 1) for i in range(len(rows))])
        for label, values, colour in zip(rows, relative[name], shades, strict=True):
            figure.add_scatter(
                x=list(found.points), y=values, name=label, mode="lines", line={"color": colour}, **_place(index)
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
    return [Figure("similarity-convergence-points", "Error by prefix length, of layers and of learners", guide, figure)]


def _panels(names: Sequence[str], height: int) -> go.Figure:
    """Small multiples, two in a row."""
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


def _place(index: int) -> dict[str, int]:
    return {"row": index // 2 + 1, "col": index % 2 + 1}


def _is_log(steps: Sequence[int]) -> bool:
    return steps[-1] > LOG_FROM


def _positions(steps: Sequence[int], log: bool | None = None) -> list[float]:
    """Where step counts stand on their axis: k, or log2 k."""
    log = _is_log(steps) if log is None else log
    return [math.log2(max(k, 0.5)) if log else float(k) for k in steps]


def _step_axis(figure: go.Figure, steps: Sequence[int], place: dict[str, int]) -> None:
    """Ticks at step counts, at powers of two or four on a logarithmic axis."""
    figure.update_xaxes(title_text="steps", **place)
    if _is_log(steps):
        stride = 2 if steps[-1] > 256 else 1
        powers = range(math.ceil(math.log2(max(steps[0], 1))), math.floor(math.log2(steps[-1])) + 1, stride)
        figure.update_xaxes(tickvals=list(powers), ticktext=[str(2**j) for j in powers], **place)


def _range(values: Sequence[float]) -> list[float]:
    """A logarithmic range around what the model reaches: learners on noiseless prompts go on to 1e-30."""
    positive = [value for value in values if value > 0]
    return [math.log10(min(positive)) - 1, max(math.log10(max(positive)), 0.0) + 0.2]
