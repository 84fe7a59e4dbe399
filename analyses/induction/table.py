"""The same heads measured as on points and as on tokens."""

from typing import TYPE_CHECKING

import plotly.graph_objects as go

from mesascope.analyses.claim import Figure
from mesascope.analyses.plots import heatmap

if TYPE_CHECKING:
    from mesascope.analyses.induction.induction import Induction

ON_POINTS = ("y_i → x_i", "|r|, tokens of y", "|r|, tokens of x")
ON_TOKENS = ("previous token", "prefix matching", "duplicate token")

ON_SYMBOLS = (
    "Σ a(t → t − 1), Σ a(t → s: x_(s−1) = x_t), Σ a(t → s: x_s = x_t), each / Σ a; Σλ / Σ|λ| of W_E W_OV W_U; "
    "cosines of products with what they are in induction as a step"
)
ON_NUMBERS = (
    "Σ_j p_j (s_j − s̄) / (max_j s_j − s̄), s_j = ⟨x_q, x_j⟩; corr over prompts of what is written with Σ_j a_j y_j"
)
"""What the columns are, as formulas."""


def both_ways(result: "Induction") -> dict[str, dict[str, float | None]]:
    """Each head's scores, by its label and the name of the score.

    On points: the raw share of y's token on its own x, and |correlation| with ⟨x_q, x_j⟩ on either kind of tokens. On
    tokens: the shares on the token before, on those that come after one like the query, and on those like it. Where
    tokens are real numbers, matching is Σ_j p_j (s_j − mean s)/(max s − mean s) with s_j = ⟨x_q, x_j⟩, which on
    distinct tokens is prefix matching beyond chance. Last, whether the head writes what it attends to: Σλ/Σ|λ| of
    W_OV between tokens, or the correlation of what it adds to the prediction with Σ_j a_j y_j.
    """
    discrete = {(one.layer, one.head): one for one in result.discrete}
    rows: dict[str, dict[str, float | None]] = {}
    for head in result.heads:
        of_y, of_x = head.towards("y"), head.towards("x")
        raw = next((one.raw.value for one in head.copying if one.form == "y to x"), None)
        row: dict[str, float | None] = {
            ON_POINTS[0]: raw,
            ON_POINTS[1]: of_y.strength if of_y else None,
            ON_POINTS[2]: of_x.strength if of_x and of_x is not of_y else None,
        }
        own = discrete.get(head.place)
        if own is not None:
            row |= dict(zip(ON_TOKENS, (own.previous.value, own.prefix.value, own.duplicate.value), strict=True))
            row["copies tokens"] = own.copying
            row |= {"W_QK one back": own.one_back, "W_QK to I": own.matching, "W_OV to I": own.writing}
        else:
            row[ON_TOKENS[0]] = head.previous.value
            row[ON_TOKENS[1]] = abs(of_y.match.value) if of_y else None
            row[ON_TOKENS[2]] = abs(of_x.match.value) if of_x and of_x is not of_y else None
            row["writes y"] = None if head.writes is None else head.writes.value
        rows[head.label] = row
    return rows


def two_ways(result: "Induction") -> Figure:
    """The table, as a heat map with the numbers in it."""
    rows = both_ways(result)
    names = list(next(iter(rows.values())))
    kept = [name for name in names if any(row[name] is not None for row in rows.values())]
    values = [[_number(row[name]) for name in kept] for row in reversed(rows.values())]
    plot: go.Figure = heatmap(
        [name.replace(" ", "<br>", 1) for name in kept], list(reversed(rows)), values, "", "score", low=-1.0, text=True
    )
    plot.update_layout(height=max(280, 145 + 24 * len(rows)))
    plot.update_traces(texttemplate="%{z:.2f}", zmin=-1.0, zmid=0.0, colorscale="RdBu_r", zmax=1.0)
    plot.update_xaxes(side="top", tickangle=0, showgrid=False)
    plot.update_yaxes(showgrid=False)
    plot.update_layout(margin={"t": 75})
    exact = bool(result.discrete)
    how = (
        "On one-hot tokens x_q·x_j is whether two tokens are equal, so that both ways apply to the same head: a copy "
        "head is a previous-token head, and attention that follows ⟨x_q, x_j⟩ on the tokens of y is prefix matching, "
        "Olsson's mark of an induction head. They part where several earlier tokens are like the query: a head that "
        "attends to one of them matches prefixes fully and correlates less. The weights, last, where there are such, "
        "have the cosine of W_QK between positions with a step back by one, of W_QK between tokens behind the best "
        "earlier head with the identity, and of W_OV with it: all are 1 in induction as a gradient step."
        if exact
        else "Prefix matching is here attention weighted by ⟨x_q, x_j⟩, from 0 (even) to 1 (all on the most similar); "
        "the token before a y is its own x, but that before an x is another point's y, which is why a copy head has "
        "only half of a previous-token score. Query heads spread attention over all points, as a gradient step does, "
        "where an induction head puts it on the matching one: a high correlation with a middling match."
    )
    return Figure(
        "induction-two-ways",
        "The same heads, measured as on points and as on tokens",
        f"{how} Writing says whether a head adds what it attends to (−1: it subtracts it).",
        plot,
        equation=ON_SYMBOLS if exact else ON_NUMBERS,
        source="Scores of tokens: Olsson et al. (2022); eigenvalues of W_OV and circuits between tokens: Elhage et al. "
        "(2021); both at once, and their likes for numbers, are ours",
    )


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
