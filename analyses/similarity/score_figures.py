"""The scores, drawn: every family with its floors and its ceiling, by layer and by prefix."""

from collections.abc import Sequence

import plotly.graph_objects as go

from mesascope.analyses.claim import Figure
from mesascope.analyses.plots import heatmap, lines, with_band
from mesascope.analyses.similarity.comparison import Comparison
from mesascope.analyses.similarity.panels import N_LINES
from mesascope.probes import Estimate

CANNOT = {
    "errors": "It cannot name the algorithm: learners are alike each other too. Exact Newton against its best-matching "
    "gradient descent scores .98 to 1.00, and the zero predictor .92 against one Newton step.",
    "weights": "It cannot name the algorithm: all that learn the same function hold nearly the same weights, as the "
    "ceiling shows.",
}
"""What the score cannot do; the numbers are from Fu's task (methods, sections 8 and 14)."""

EQUATION = {
    "errors": "E<sub>prompts</sub> cos(ŷ_A − y, ŷ_B − y)",
    "weights": "E<sub>prompts</sub> cos(ŵ_A, ŵ_B), ŵ = argmin Σ (ŷ(x_q) − wᵀx_q)²",
}
SOURCE = {
    by: f"Fu et al. (2024), definition {n}; departures: floors, a ceiling, intervals, and scores on other prompts than "
    "those that members are chosen on"
    for by, n in (("errors", 2), ("weights", 3))
}


def score_name(by: str) -> str:
    """What is compared, in words."""
    return "Similarity of errors" if by == "errors" else "Similarity of induced weights"


def draw_families(found: Comparison, prefixes: Sequence[int], empty_prefix: bool) -> Figure:
    """The output's match in every family, beside its floors."""
    matches = found.output.matches
    series: dict[str, Sequence[Estimate]] = {"best match": [match.similarity for match in matches]}
    floors = {
        "zero predictor": [_exactly(match.zero) for match in matches],
        "another prompt": [_exactly(match.shuffled) for match in matches],
    }
    if all(match.untrained for match in matches):
        floors["untrained twins"] = [match.untrained for match in matches if match.untrained]
    if found.by == "errors":
        convention = "with" if empty_prefix else "without"
        what = f"the cosine of its errors and theirs over points, {convention} the empty prefix"
    else:
        what = (
            "the cosine of its induced weights (least squares of its predictions on a frame of queries and their "
            "negatives after a fixed prefix) "
            f"and theirs, after {', '.join(map(str, prefixes))} points"
        )
    return Figure(
        f"similarity-{found.by}",
        f"{score_name(found.by)} of the output to every family",
        f"Each family's best-matching member, chosen on {found.n_tune:,} prompts and scored on {found.n_prompts:,} "
        f"others: {what}, averaged over prompts, with 95% intervals (delete-a-block jackknife). Members stand on a "
        "grid of step sizes and penalties; one between its points would score a percent or so more. Floors, against "
        "the same member: predicting zero, the model's own predictions for another prompt, and the untrained twins "
        "(mean, with the interval in which one more would fall). Only the height above the floors says anything. "
        f"{CANNOT[found.by]}",
        _with_room(with_band([match.family for match in matches], {**series, **floors}, score_name(found.by).lower())),
        shows=(f"similarity.{found.by}.*",),
        equation=EQUATION[found.by],
        source=SOURCE[found.by],
    )


def _with_room(figure: go.Figure) -> go.Figure:
    """Space for long names under the axis."""
    return figure.update_xaxes(automargin=True, title_standoff=8).update_layout(height=460)


def _exactly(value: float) -> Estimate:
    return Estimate(value, value, value)


def draw_ceiling(found: Comparison) -> list[Figure]:
    """How alike the families are to each other; none where there is one."""
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
            equation=EQUATION[found.by],
            source=SOURCE[found.by],
        )
    ]


def draw_layers(found: Comparison) -> list[Figure]:
    """Every layer's match in every family; none where there is only an output."""
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
    return [
        Figure(
            f"similarity-{found.by}-layers",
            f"{score_name(found.by)}, layer by layer",
            guide,
            plot,
            equation=EQUATION[found.by],
            source=SOURCE[found.by],
        )
    ]


def draw_prefixes(found: Comparison, prefixes: Sequence[int]) -> list[Figure]:
    """The output's match in every family after each prefix; none where there is one."""
    if len(prefixes) < 2:
        return []
    shown = dict(list(found.by_part.items())[:N_LINES])
    guide = (
        "The cosine of the output's induced weights with those of each family's best match, prefix by prefix. With as "
        "many points as dimensions, least squares without a penalty is at its most erratic, and smoother learners are "
        "the more alike."
    )
    plot = lines(list(prefixes), shown, "points seen before the query", "similarity of induced weights")
    return [
        Figure(
            "similarity-weights-prefixes",
            "Similarity of induced weights by prefix length",
            guide,
            plot,
            equation=EQUATION["weights"],
            source=SOURCE["weights"],
        )
    ]
