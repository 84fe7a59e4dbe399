"""The circuit, the best scores and every head in a sentence each."""

from typing import TYPE_CHECKING

from mesascope.analyses.claim import Claim, fixed
from mesascope.analyses.induction.effects import Effect
from mesascope.analyses.induction.reading import Copying, HeadReading
from mesascope.analyses.induction.verdict import NEITHER, QUERY, UNDETERMINED

if TYPE_CHECKING:
    from mesascope.analyses.induction.induction import Induction

NOT_NEEDED = "not needed: tokens hold x and y"


def all_claims(result: "Induction") -> tuple[Claim, ...]:
    """The most important first."""
    return (_model(result), _copy(result), _query(result), *(_head(result, head) for head in result.heads))


def _model(result: "Induction") -> Claim:
    """The circuit, with what the loss is without it."""
    circuit, losses = result.circuit, result.losses
    effect: Effect | None = None
    if losses is not None:
        effect = losses.paths[0] if losses.paths else losses.of("query heads")
    text = f"The heads: {circuit.verdict}; {circuit.why}"
    if result.construction is not None:
        text += f"; by their weights: {result.construction}"
    value, ci = (None, None) if effect is None else (effect.factor.value, effect.factor.ci)
    return Claim("induction.model", text + ".", value, ci, None if effect is None else 1.0, circuit.verdict)


def _copy(result: "Induction") -> Claim:
    """The highest copy score."""
    heads = [head for head in result.heads if head.copy is not None]
    if not heads:
        text = "No head copies x to y: the tokens hold both."
        return Claim("induction.copy", text, None, None, None, NOT_NEEDED)
    head = max(heads, key=lambda head: head.copy.score.value if head.copy else 0.0)
    copy, verdict = head.copy, result.copy_verdicts[head.label]
    assert copy is not None
    if copy.form == "y to x":
        shown = "y's token attends to its own x"
    else:
        shown = "x's token attends to its own y"
    text = (
        f"{head.label} copies the most: {shown} with {_score(copy)} of what it attends to beside itself, away from the "
        f"last points ({fixed(copy.raw.value)} of all; permuted keys {fixed(copy.chance)}, untrained twins at most "
        f"{fixed(result.nulls.for_copy)}){_without(result, head)}."
    )
    return Claim("induction.copy", text, copy.score.value, copy.score.ci, _copy_null(result, copy), verdict)


def _query(result: "Induction") -> Claim:
    """The highest |correlation|."""
    head = max(result.heads, key=lambda head: head.query.strength)
    query = head.query
    text = (
        f"{head.label} follows likeness the most: the query's attention to tokens of {query.target} has |correlation| "
        f"{fixed(query.strength)} [{fixed(query.interval[0])}, {fixed(query.interval[1])}] with ⟨x_q, x_j⟩ (with y_j "
        f"{fixed(abs(query.label.value))}, with another prompt's x at most {fixed(result.nulls.shuffled)}, untrained "
        f"twins at most {fixed(max(result.nulls.query[query.target], default=0.0))})."
    )
    verdict = result.query_verdicts[head.label]
    return Claim("induction.query", text, query.strength, query.interval, result.nulls.for_query(query.target), verdict)


def _head(result: "Induction", head: HeadReading) -> Claim:
    """What one head is: by its copy score if it copies, otherwise by its correlation."""
    copies, queries = result.copy_verdicts[head.label], result.query_verdicts[head.label]
    verdict = in_a_word(copies, queries)
    id_, copy, query = f"induction.layer{head.layer + 1}.head{head.head}", head.copy, head.query
    parts = [] if copy is None else [f"copy score {_score(copy)}"]
    parts.append(f"|correlation| with ⟨x_q, x_j⟩ {fixed(query.strength)} on tokens of {query.target}")
    text = f"{head.label}: {verdict}; {', '.join(parts)}{_without(result, head)}."
    if copy is not None and copies != NEITHER and queries != QUERY:
        return Claim(id_, text, copy.score.value, copy.score.ci, _copy_null(result, copy), verdict)
    return Claim(id_, text, query.strength, query.interval, result.nulls.for_query(query.target), verdict)


def in_a_word(copies: str, queries: str) -> str:
    """What a head is, of what it is as one that copies and as one that queries."""
    said = {"querying": queries, "copying": copies}
    words = [f"{what} {word}" if word == UNDETERMINED else word for what, word in said.items() if word != NEITHER]
    return " and ".join(words) or NEITHER


def _score(copy: Copying) -> str:
    return f"{fixed(copy.score.value)} [{fixed(copy.score.low)}, {fixed(copy.score.high)}]"


def _copy_null(result: "Induction", copy: Copying) -> float:
    return max(copy.chance, result.nulls.for_copy)


def _without(result: "Induction", head: HeadReading) -> str:
    effect = None if result.losses is None else result.losses.of("head", [head.place])
    if effect is None:
        return ""
    factor, late = effect.factor, result.losses.late if result.losses else ()
    where = f"from point {late[0]} on" if len(late) > 1 else f"at point {late[0]}"
    return f"; without it the loss {where} is {factor} times as large"
