"""The figures of an identification."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import plotly.graph_objects as go

from mesascope.analyses.claim import Figure
from mesascope.analyses.identification.judging import EXACT
from mesascope.analyses.plots import NEUTRAL, heatmap, lines, log_axis, with_band
from mesascope.probes import Estimate

if TYPE_CHECKING:
    from mesascope.analyses.identification.examination import Finding
    from mesascope.analyses.identification.identification import Identification

N_SHOWN = 6
"""Families drawn by layer: those that come nearest to some layer."""
FLOOR = 1e-6
"""Shares below this are drawn at it: they are rounding."""


def draw(result: "Identification") -> tuple[Figure, ...]:
    """What is left unexplained, how the rivals pass for each other, strengths by layer, and the scorecard."""
    figures = [_unexplained(result)]
    if len(result.discrimination.families) > 1:
        figures.append(_confusion(result))
    figures += _strengths(result)
    if result.scorecard is not None and len(result.scorecard.scores) > 1:
        figures.append(_scorecard(result))
    return tuple(figures)


def _unexplained(result: "Identification") -> Figure:
    shown = [finding for finding in result.layers if finding.verdict.families] or [result.output]
    nearest = [
        match.family
        for rank in range(N_SHOWN)
        for finding in shown
        for match in finding.evidence.matches[rank : rank + 1]
    ]
    families = list(dict.fromkeys(nearest))[:N_SHOWN]
    labels = [finding.label for finding in shown]

    def share(estimate: Estimate) -> Estimate:
        return Estimate(*(max(value, FLOOR) for value in (estimate.value, estimate.low, estimate.high)))

    series = {
        family: [
            share(next(match.unexplained for match in finding.evidence.matches if match.family == family))
            for finding in shown
        ]
        for family in families
    }
    ceiling = [finding.evidence.ceiling for finding in shown]
    series["by any filter or combination"] = [share(Estimate(1 - c.value, 1 - c.high, 1 - c.low)) for c in ceiling]
    floor = [share(Estimate(*(1 - finding.floor,) * 3)) for finding in shown]
    plot = with_band(labels, {**series, "floor: untrained or shuffled": floor}, "share left unexplained")
    log_axis(plot, [[e.value for e in values] for values in [*series.values(), floor]])
    _say_how_surely(plot, shown)
    return Figure(
        "identification-unexplained",
        "What each family leaves unexplained, layer by layer",
        "Σ(ŷ − ŷ_learner)²/Σŷ² of each family's nearest member, whose scalars and steps were fitted on "
        f"{result.n_tune:,} other prompts, with 95% intervals over {result.n_prompts:,}: lower is nearer. Nothing can "
        "be expected below the share that no spline filter and no combination of learners explains. A family is named "
        "where it comes within 1% of that and all others are excluded; 1 is what predicting zero leaves. The floor is "
        "what the nearest of all rivals leaves of an untrained twin's predictions, or of those for other prompts.",
        plot,
        equation="min over members of Σ(ŷ − ŷ_learner)² / Σŷ²",
        source="the measure is ours",
    )


def _say_how_surely(plot: go.Figure, shown: "Sequence[Finding]") -> None:
    """Add to every point how often the nearest family is nearer, what a rival is excluded by."""
    for trace in plot.data:
        beaten = [[m.beaten for m in finding.evidence.matches if m.family == trace.name] for finding in shown]
        if trace.hovertemplate and all(beaten):
            said = [f"the nearest is nearer in {share:.1%} of bootstraps" for (share,) in beaten]
            trace.update(text=said, hovertemplate=trace.hovertemplate + "<br>%{text}")


def _confusion(result: "Identification") -> Figure:
    plan = result.discrimination
    rows = [[max(value, FLOOR) for value in row] for row in plan.confusion]
    plot = heatmap(
        list(plan.families),
        [f"exact {family}" for family in plan.families],
        rows,
        "imitated by the best of",
        "left unexplained",
        text=True,
    )
    plot.update_traces(zmax=max(max(row) for row in rows), texttemplate="%{z:.2g}")
    hardest = plan.hardest
    return Figure(
        "identification-confusion",
        "Ceiling: the rivals themselves, through the same pipeline",
        "Each row takes an exact learner, the family's member nearest to the output, as if it were the model, and says "
        "what the best member of every other family leaves of it unexplained. A model is no nearer to its learner than "
        "it is exact, so where a row's entries are small, families can be confused"
        + (f". Hardest for this model: {hardest}." if hardest else "."),
        plot,
        equation="min over members of Σ(ŷ_exact − ŷ_learner)² / Σŷ_exact²",
        source="the measure is ours",
    )


def _strengths(result: "Identification") -> list[Figure]:
    named = [finding for finding in result.layers if finding.verdict.families and finding.strength]
    if len(named) < 2:
        return []
    symbols = list(dict.fromkeys(symbol for finding in named for symbol in finding.strength))
    series = {
        f"{symbol} of {family}": [
            finding.strength[symbol].value
            if symbol in finding.strength and finding.learner.family == family
            else float("nan")
            for finding in named
        ]
        for family in dict.fromkeys(finding.learner.family for finding in named)
        for symbol in symbols
        if any(symbol in f.strength and f.learner.family == family for f in named)
    }
    plot = lines(list(range(len(named))), series, "", "strength", log=True)
    plot.update_xaxes(tickvals=list(range(len(named))), ticktext=[finding.label for finding in named])
    return [
        Figure(
            "identification-strength",
            "How far the nearest learner has come, layer by layer",
            "What predictions can identify of the nearest learner's scalars: τ = ηk of gradient descent (not η and k), "
            "the number of Newton steps, ridge's penalty. Layers may be nearest to different families; compare points "
            "of one kind.",
            plot,
            equation="τ = ηk of gradient descent, k of Newton, r of ridge",
            source="the measure is ours",
        )
    ]


def _scorecard(result: "Identification") -> Figure:
    card = result.scorecard
    assert card is not None
    run = [score for score in card.scores if score.missed is not None and math.isfinite(score.missed.value)]
    estimates = [score.missed for score in run if score.missed is not None]
    clipped = [Estimate(*(max(v, FLOOR) for v in (e.value, e.low, e.high))) for e in estimates]
    plot = with_band([score.shift for score in run], {card.learner: clipped}, "missed")
    log_axis(plot, [[e.value for e in clipped]])
    plot.add_hline(y=card.allowed, line={"color": NEUTRAL, "dash": "dash"}, annotation_text="allowed")
    plot.update_xaxes(tickangle=-40, automargin=True)
    plot.update_layout(height=520)
    skipped = [score.shift for score in card.scores if score.missed is None]
    return Figure(
        "identification-scorecard",
        "Does it hold elsewhere?",
        f"{card.learner}, its scalars as they were fitted in distribution, against the model under each shift: "
        "Σ(ŷ − ŷ_learner)² in units of the smaller of the learner's squared error and squared prediction. Below the "
        f"dashed line ({EXACT:.0%}, or twice what is missed in distribution) it survives; a model implements a learner "
        "only if all shifts are survived" + (f". Could not be run: {', '.join(skipped)}." if skipped else "."),
        plot,
        equation="Σ(ŷ − ŷ_learner)² / min(Σ(ŷ_learner − y)², Σŷ_learner²)",
        source="the measure is ours",
    )
