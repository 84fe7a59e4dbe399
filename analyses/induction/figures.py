"""Scores, losses and weights of all heads, drawn."""

import math
from typing import TYPE_CHECKING

import plotly.graph_objects as go
import torch
from plotly.subplots import make_subplots

from mesascope.analyses.claim import Figure, fixed
from mesascope.analyses.induction.effects import Effect, Losses
from mesascope.analyses.induction.maps import attention_maps, circuit_drawing
from mesascope.analyses.induction.table import two_ways
from mesascope.analyses.induction.verdict import CONTROL, COPIES, DECISIVE, FOLLOWS, MOVES
from mesascope.analyses.induction.weights import Derivatives
from mesascope.analyses.plots import NEUTRAL, PALETTE, SEQUENTIAL, lines, log_axis, styled, with_band
from mesascope.probes import Estimate, prediction_interval

if TYPE_CHECKING:
    from mesascope.analyses.induction.induction import Induction

MAX_LINES = 8
"""Most heads that are drawn by point."""


def draw(result: "Induction") -> tuple[Figure, ...]:
    """All figures that there is something to draw for."""
    figures = [attention_maps(result), _scores(result), _correlations(result)]
    figures += [_by_point(result)] if result.attention.roles.copies or len(result.attention.queries) > 2 else []
    if result.losses is not None:
        figures += [_factors(result, result.losses), _losses(result, result.losses)]
        if result.losses.paths:
            figures.append(circuit_drawing(result))
    figures += [_composition(result)] if result.composed else []
    figures += [_derivatives(result.derivatives)] if result.derivatives is not None else []
    return (*figures, two_ways(result))


def _scores(result: "Induction") -> Figure:
    panels = {}
    if not result.attention.roles.together:
        panels["copy score"] = [head.copy.score.value if head.copy else 0.0 for head in result.heads]
    for target in [one.target for one in result.heads[0].querying]:
        found = [head.towards(target) for head in result.heads]
        panels[f"|correlation|, tokens of {target}"] = [one.strength if one else 0.0 for one in found]
    layers = list(dict.fromkeys(head.layer for head in result.heads))
    n_heads = len(result.heads) // len(layers)
    plot = make_subplots(rows=1, cols=len(panels), subplot_titles=list(panels), horizontal_spacing=0.08)
    for column, values in enumerate(panels.values(), start=1):
        rows = [values[at * n_heads : (at + 1) * n_heads] for at in range(len(layers))]
        cells = go.Heatmap(
            x=[f"head {head}" for head in range(n_heads)],
            y=[f"layer {layer + 1}" for layer in layers],
            z=rows,
            zmin=0,
            zmax=1,
            colorscale=SEQUENTIAL,
            showscale=column == len(panels),
            texttemplate="%{z:.2f}",
            hovertemplate="%{y}, %{x}: %{z:.4f}<extra></extra>",
        )
        plot.add_trace(cells, row=1, col=column)
    styled(plot, "", "", height=max(260, 120 + 42 * len(layers)))
    plot.update_layout(margin={"t": 50, "r": 90, "l": 80}, modebar={"orientation": "h"})
    nulls = result.nulls
    return Figure(
        "induction-scores",
        "Copy and query scores by layer and head",
        "Copy score: of what y's token attends to beside itself (x's token, where that is more), the share on the "
        "other half of its own point, over the points away from the last; a copy head needs "
        f"{COPIES:g}, untrained twins reach {fixed(nulls.for_copy)}. |Correlation|: of the query's attention to tokens "
        f"of a kind with ⟨x_q, x_j⟩ within a prompt, the mean over query points; a query head needs {FOLLOWS:g}, "
        f"untrained twins reach {_twins(result)}. Tokens of x follow it to some degree by chance, the more so in few "
        "dimensions. Where one token holds x and y there is nothing to copy and one kind of tokens.",
        plot,
        shows=("induction.copy", "induction.query"),
        equation="mean over i of Σ a(y_i → x_i) / Σ (1 − a(y_i → y_i)), sums over prompts; mean over q of "
        "|corr_j(a(x_q → j), ⟨x_q, x_j⟩)|",
        source="von Oswald et al. (2023), section 5, for copying and querying; leaving a token's attention to itself "
        "out and the thresholds are ours",
    )


def _twins(result: "Induction") -> str:
    found = result.nulls.query.items()
    return ", ".join(f"{fixed(max(values, default=0.0))} on tokens of {target}" for target, values in found)


def _correlations(result: "Induction") -> Figure:
    labels = [head.label for head in result.heads]
    queries = [head.query for head in result.heads]
    series = {
        "with ⟨x_q, x_j⟩": [query.correlation for query in queries],
        "with another prompt's": [query.shuffled for query in queries],
        "with y_j (control)": [query.label for query in queries],
    }
    plot = with_band(labels, series, "correlation of attention")
    null = [result.nulls.for_query(query.target) for query in queries]
    for sign in (1, -1):
        plot.add_scatter(
            x=list(range(len(labels))),
            y=[sign * value for value in null],
            name="null",
            mode="markers",
            marker={"color": NEUTRAL, "symbol": "line-ew-open", "size": 14, "line": {"width": 2}},
            hovertemplate="null: %{y:.4f}",
            showlegend=sign == 1,
        )
        plot.add_hline(y=sign * FOLLOWS, line={"dash": "dash", "color": NEUTRAL, "width": 1})
    plot.update_yaxes(range=[-1.08, 1.08])
    plot.update_xaxes(range=[-0.75, len(labels) - 0.25])
    return Figure(
        "induction-correlation",
        "Does attention follow how like the query's x a point's is?",
        "The correlation over the points of a prompt between the query's attention and ⟨x_q, x_j⟩, pooled over prompts "
        "and averaged over query points, on the tokens (of x or of y) where it is larger; bars are 95% intervals from "
        "leaving out blocks of prompts. Signs come in pairs, since a head may subtract what another adds, so that the "
        f"absolute value counts: {FOLLOWS:g} (dashed) for a query head, with at most {CONTROL:g} for y_j. The grey "
        "dash is the null: what another prompt's x or the best head of untrained twins reaches on such tokens. "
        f"A correlation knows no size: a query head must also move {MOVES:g} of its attention between points.",
        plot,
        shows=("induction.layer*",),
        equation="Σ (a_j − ā)(s_j − s̄) / √(Σ (a_j − ā)² Σ (s_j − s̄)²), s_j = ⟨x_q, x_j⟩, sums over points and prompts",
        source="A gradient step attends by ⟨x_q, x_j⟩: von Oswald et al. (2023), section 2; the measure is ours",
    )


def _by_point(result: "Induction") -> Figure:
    """A panel for each kind of scores that there is more than one number of."""
    copies = [head for head in result.heads if head.label in _shown(result, "copy")]
    queries = [head for head in result.heads if head.label in _shown(result, "query")]
    later = [point for point in result.attention.queries if point > 1]  # with one point there is nothing to correlate
    at = [result.attention.queries.index(point) for point in later]
    copied = {f"{head.label} copies": list(head.copy.by_point) for head in copies if head.copy is not None}
    asked = {f"{head.label} queries": [abs(head.query.by_point[place]) for place in at] for head in queries}
    panels = {"|correlation| with ⟨x_q, x_j⟩": (later, asked)} if len(later) > 1 or not copied else {}
    if copied:
        panels = {"copy score": (list(range(result.attention.roles.n_pairs)), copied), **panels}
    plot = make_subplots(rows=1, cols=len(panels), subplot_titles=list(panels))
    n_drawn = 0
    for column, (points, series) in enumerate(panels.values(), start=1):
        for trace in lines(points, series, "", "").data:
            trace.update(line={"color": PALETTE[n_drawn % 8]}, marker={"color": PALETTE[n_drawn % 8]})
            plot.add_trace(trace, row=1, col=column)
            n_drawn += 1
    styled(plot, "", "")
    plot.update_layout(margin={"t": 90}, legend={"y": 1.12}, showlegend=True)
    plot.update_xaxes(title_text="point", zeroline=False, gridcolor="rgba(128,128,128,.25)")
    plot.update_yaxes(range=[-0.05, 1.05], zeroline=False, gridcolor="rgba(128,128,128,.25)")
    return Figure(
        "induction-points",
        "Where heads copy, and where they look for likeness",
        "The copy score of every point, and the |correlation| at every query point, of the heads that are copy and "
        "query heads (or come nearest). Trained decoders do not copy the last points, which hardly matter to the loss "
        "that they were trained on; a copy head's score leaves the last three out. Heads may share the points: one "
        "copies the early ones, another the late.",
        plot,
        equation="Σ a(y_i → x_i) / Σ (1 − a(y_i → y_i)) by i, sums over prompts; |corr_j(a(x_t → j), ⟨x_t, x_j⟩)| by t",
        source="von Oswald et al. (2023), section 5, for copying and querying; by point is ours",
    )


def _shown(result: "Induction", side: str) -> list[str]:
    """The heads that are what is asked for, or else the nearest to it."""
    if side == "copy":
        ranked = sorted((h for h in result.heads if h.copy), key=lambda h: -h.copy.score.value if h.copy else 0.0)
        named = [head.label for head in result.copy_heads]
    else:
        ranked = sorted(result.heads, key=lambda h: -h.query.strength)
        named = [head.label for head in result.query_heads]
    return (named or [head.label for head in ranked[:2]])[:MAX_LINES]


def _factors(result: "Induction", losses: Losses) -> Figure:
    labels = [head.label for head in result.heads]
    series: dict[str, list[Estimate]] = {}
    for kind, said in (("mean", "its mean"), ("resample", "another prompt's")):
        found = [losses.of("head", [head.place], kind) for head in result.heads]
        series[said] = [effect.factor for effect in found if effect is not None]
    plot = with_band(labels, series, "loss without it, relative to with it")
    _log(plot, [value for row in series.values() for one in row for value in (one.value, one.high, one.low)])
    plot.update_xaxes(range=[-0.75, len(labels) - 0.25])
    for level in (1.0, DECISIVE):
        plot.add_hline(y=level, line={"dash": "dash", "color": NEUTRAL, "width": 1})
    return Figure(
        "induction-ablation",
        "What the loss is without each head",
        "A head's output is replaced at every position by its mean there over other prompts, or by what it is on "
        f"another prompt; shown is the factor on the loss {_where(losses)}, where there are examples enough to have "
        f"learned the task, over {losses.n_prompts:,} prompts, with 95% intervals. A copy head needs a factor of "
        f"{DECISIVE:g} (dashed), or to bring the loss to that of predicting zero. Factors rank heads. They are no "
        "shares of anything, do not add up, and may push the loss past the zero predictor, since what later heads make "
        "of an output that they never met is not what they would make of none.",
        plot,
        equation="L(z_h ← mean z_h) / L; L(z_h ← z_h of another prompt) / L",
        source="Mean ablation: Wang et al. (2022), section 2; resampling: Chan et al. (2022), causal scrubbing",
    )


def _where(losses: Losses) -> str:
    first = losses.late[0]
    return f"from point {first} on" if len(losses.late) > 1 else f"at point {first}"


def _log(plot: go.Figure, values: list[float]) -> None:
    ends = [math.log10(value) for value in values if value > 0]
    low, high = min([0.0, *ends]), max([1.1, *ends])
    plot.update_yaxes(type="log", range=[low - 0.1, high + 0.1], dtick=1, exponentformat="power")


def _losses(result: "Induction", losses: Losses) -> Figure:
    series = {"the model": losses.own_by_point, "predicting zero": losses.null_by_point}
    wanted: dict[str, Effect | None] = {
        f"without {head.label}": losses.of("head", [head.place]) for head in result.copy_heads[:3]
    }
    wanted["without all query heads"] = losses.of("query heads")
    wanted["without what query heads read of copy heads"] = next(iter(losses.paths), None)
    series |= {name: one.by_point for name, one in wanted.items() if one is not None}
    plot = lines(list(losses.points), series, "point", "loss", log=True)
    plot.update_xaxes(dtick=1 if len(losses.points) <= 24 else None)
    return Figure(
        "induction-loss",
        "Loss by prefix, with and without",
        "The loss at every point that counts, a prediction at point t having seen t examples: of the model, of "
        "predicting zero on the same prompts, and without copy heads, query heads, or what query heads read of copy "
        "heads (only what they read as queries, keys and values is changed, directly and through the MLPs in between, "
        "their own norm recomputed). Without a copy head no example can be used, and "
        "the curve no longer falls with the number of examples.",
        plot,
        shows=() if losses.paths else ("induction.model",),
        equation="L_t = mean over prompts of the loss at point t, after t examples",
        source="Path patching: Wang et al. (2022), section 3.1; departure: mean outputs replace a corrupted prompt's",
    )


def _composition(result: "Induction") -> Figure:
    last = max(head.layer for head in result.heads)
    ranked = sorted(result.heads, key=lambda head: -(head.copy.score.value if head.copy else head.query.strength))
    able = [head for head in (*result.copy_heads, *ranked) if head.layer < last]
    writers = able[: max(1, min(2, len(result.copy_heads)))]
    readers = [head.label for head in result.heads if head.layer > min(writer.layer for writer in writers)]
    series: dict[str, list[float]] = {}
    for writer in writers:
        scores = {
            f"L{layers.reader + 1}H{head}": layers.scores.scores[:, writer.head, head].tolist()
            for layers in result.composed
            if layers.writer == writer.layer
            for head in range(layers.scores.scores.shape[2])
        }
        for use, said in enumerate(("query", "key", "value")):
            values = [scores[reader][use] if reader in scores else math.nan for reader in readers]
            series[f"{writer.label} as {said}"] = values
    chance = max(layers.scores.chance.high for layers in result.composed)
    plot = lines(list(range(len(readers))), series, "", "composition score")
    for trace in plot.data:
        trace.update(mode="markers", hovertemplate="%{text}: %{y:.4f}", text=readers)
    plot.update_xaxes(tickvals=list(range(len(readers))), ticktext=readers, range=[-0.75, len(readers) - 0.25])
    plot.add_hline(y=chance, line={"dash": "dash", "color": NEUTRAL, "width": 1.5})
    plot.update_yaxes(rangemode="tozero")
    return Figure(
        "induction-composition",
        f"What later heads read of {' and '.join(writer.label for writer in writers)}, by the weights alone",
        "A head's W_OV with what each later head does to its input: M = W_QK as query, "
        "W_QKᵀ as key, W_OV as value, norms' gains included. No gauge of the heads changes it. "
        "Random heads of the same shapes lie below the dashed line in 97.5% of draws. A score says that there is a "
        "path, not that it is used: the cut paths say that. Where MLPs or more layers stand between, what is read may "
        "have gone through them, and the score misses it.",
        plot,
        equation="‖W_OV M‖ / (‖W_OV‖ ‖M‖), Frobenius",
        source="Elhage et al. (2021), composition scores; departure: random heads of the same shapes stand beside the "
        "scores, and are not subtracted",
    )


def _derivatives(found: Derivatives) -> Figure:
    said = {
        "previous": "y's token by its x",
        "following": "x's token by its y",
        "itself": "itself",
        "others": "any other token",
    }
    # Under a causal mask there is no derivative by what comes after.
    names = {name: text for name, text in said.items() if getattr(found, name).value > 0}
    series: dict[str, list[Estimate]] = {"the model": [getattr(found, name) for name in names]}
    if all(len(values) > 1 for values in found.untrained.values()):
        series["untrained twins"] = [prediction_interval(torch.tensor(found.untrained[name])) for name in names]
    plot = with_band(list(names.values()), series, "norm of the derivative")
    log_axis(plot, [[one.value for one in row] for row in series.values()])
    plot.update_xaxes(range=[-0.5, len(names) - 0.5])
    return Figure(
        "induction-derivatives",
        "What a token is made of behind the first layer",
        "How much a token behind the first layer with heads depends on each input token, the norm for each prompt and "
        "then the mean over tokens and prompts: by the other half of its own point, by itself, and by all tokens but "
        "those. A copy shows as a dependence "
        "on the neighbour that is many times that on any other token. Under a causal mask x's token cannot depend on "
        "its y, and is not drawn. Untrained twins: mean, and where one more would fall.",
        plot,
        equation="‖∂h_t / ∂token_s‖, Frobenius",
        source="von Oswald et al. (2023), section 5 and figure 6; departures: the neighbour is none of the others, and "
        "norms are taken for each prompt",
    )
