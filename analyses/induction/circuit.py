"""Whether copy heads and query heads are a circuit, and which of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mesascope.analyses.induction.answers import Answer, all_of, any_of, at_least, at_most
from mesascope.analyses.induction.effects import Losses
from mesascope.analyses.induction.paths import SIDES, alone, named_paths, needed
from mesascope.analyses.induction.reading import label_of
from mesascope.analyses.induction.verdict import LEARNED, MATTERS, UNDETERMINED
from mesascope.probes.ablation import Head

NO_CIRCUIT, QUERY_ONLY, CIRCUIT = "no circuit", "query heads only (tokens hold x and y)", "induction circuit"


@dataclass(frozen=True)
class Circuit:
    """What the heads are together."""

    verdict: str
    why: str
    copies: tuple[str, ...] = ()
    fed: tuple[str, ...] = ()


def find_circuit(
    copies: Mapping[Head, Answer] | None, queries: Mapping[Head, Answer], losses: Losses | None
) -> Circuit:
    """The circuit, if there is one.

    Args:
        copies: Whether each head is a copy head; None where tokens hold x and y, so that nothing needs to be copied.
        queries: Whether each head is a query head.
        losses: Of the ablations and paths; None if they were left out.
    """
    if losses is None:
        return Circuit(UNDETERMINED, "ablations and paths were left out")
    learned = at_most(losses.learned, LEARNED)
    relative = f"the model's loss is {losses.learned} of that of predicting zero"
    if learned is False:
        return Circuit(NO_CIRCUIT, relative)
    pairs = list(queries.values()) if copies is None else _in_order(copies, queries)
    found = any_of(*pairs)
    if found is not True:
        return Circuit(NO_CIRCUIT if found is False else UNDETERMINED, _missing(copies, queries))
    if learned is None:
        return Circuit(UNDETERMINED, relative)
    # Heads of which nothing can be said may do what the others do not.
    return _by_effect(copies is None, losses, more=None if None in pairs else False)


def _in_order(copies: Mapping[Head, Answer], queries: Mapping[Head, Answer]) -> list[Answer]:
    """Of every two heads of which the second comes after the first: whether they copy and query."""
    return [all_of(copies[one], queries[two]) for one in copies for two in queries if one[0] < two[0]]


def _missing(copies: Mapping[Head, Answer] | None, queries: Mapping[Head, Answer]) -> str:
    sides = {"query head": any_of(*queries.values())}
    if copies is not None:
        sides["copy head"] = any_of(*copies.values())
    for answer, said in ((False, ""), (None, " for certain, and heads of which that cannot be said")):
        for side in sides:
            if sides[side] is answer:
                return f"there is no {side}{said}"
    return "no query head comes after a copy head" + (
        " for certain" if None in _in_order(copies or {}, queries) else ""
    )


def _by_effect(together: bool, losses: Losses, more: Answer) -> Circuit:
    effect = losses.of("query heads") if together else losses.paths[0]
    assert effect is not None  # there are query heads
    what = "the query heads" if together else "what query heads read of copy heads"
    why = f"without {what} the loss is {effect.factor} times as large"
    matters = any_of(at_least(effect.factor, MATTERS), more)
    if matters is not True:
        unsaid = "" if more is False else ", and of other heads it cannot be said what they are"
        return Circuit(NO_CIRCUIT if matters is False else UNDETERMINED, why + unsaid)
    return Circuit(QUERY_ONLY, why) if together else _named(losses, why)


def _named(losses: Losses, why: str) -> Circuit:
    """Heads are named if they are needed, and if the paths between those named are about all that there is to cut."""
    joint, named = losses.paths[0], named_paths(losses)
    if not named.readers:
        return Circuit(UNDETERMINED, f"{why}, and it cannot be said which heads that hangs on")
    copies, fed = (tuple(map(label_of, heads)) for heads in (named.heads, named.readers))
    cut = losses.cut(named)
    if at_least(joint.relative_to(cut), MATTERS) is not False:
        own = f"without what {_heads(fed)} read{'s' * (len(fed) == 1)} of {_heads(copies)} {cut.factor} times"
        return Circuit(UNDETERMINED, f"{why}, {own}, and it cannot be said which heads the rest hangs on")
    beside = {side: [h for h in getattr(named, side) if not alone(losses, side, h)] for side in SIDES}
    unsaid = [h for side in SIDES for h in getattr(joint.knockout, side) if needed(losses, side, h) is None]
    for heads, what in (
        (sum(beside.values(), []), "the paths of {} matter beside others' only"),
        (unsaid, "of {} it cannot be said"),
    ):
        why += f"; {what.format(_heads(list(map(label_of, heads))))}" if heads else ""
    together = ", together" * any(beside[side] and len(getattr(named, side)) > 1 for side in SIDES)
    said = f"copy {_heads(copies)} feed{'s' * (len(copies) == 1)} query {_heads(fed)}"
    return Circuit(f"{CIRCUIT}: {said}{together}", why, copies, fed)


def _heads(labels: Sequence[str]) -> str:
    return f"head{'s' * (len(labels) > 1)} {', '.join(labels)}"
