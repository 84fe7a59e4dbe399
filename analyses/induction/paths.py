"""Which paths from copy heads to query heads are cut."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from mesascope.analyses.induction.answers import at_least
from mesascope.analyses.induction.effects import Asked, Losses
from mesascope.analyses.induction.reading import HeadReading
from mesascope.analyses.induction.verdict import MATTERS
from mesascope.probes.ablation import Head, Knockout

MAX_PAIRS = 32
"""Most pairs of a copy head and a query head between which paths are cut: they are drawn, and bear on no verdict."""
Side = Literal["heads", "readers"]
"""Of a cut: the copy heads that write, or the query heads that read."""
SIDES: tuple[Side, Side] = ("heads", "readers")


def between(writers: Sequence[Head], readers: Sequence[Head]) -> Knockout:
    """All paths from some heads to others; those stand in it that have another to reach, or to be reached by."""
    return Knockout(
        tuple(writer for writer in writers if any(writer[0] < reader[0] for reader in readers)),
        "mean",
        tuple(reader for reader in readers if any(writer[0] < reader[0] for writer in writers)),
    )


def path_knockouts(copies: Sequence[HeadReading], queries: Sequence[HeadReading], losses: Losses) -> Asked:
    """All copy heads into all query heads behind them, and by use; then single heads of either side; then pairs.

    Of many pairs, those of the copy heads without which the loss is the largest, and then of the query heads that
    follow the most.

    Args:
        copies: The copy heads.
        queries: The query heads.
        losses: Of single ablations.
    """
    joint = between([head.place for head in copies], [head.place for head in queries])
    if not joint.readers:
        return []
    cuts = [joint, *(replace(joint, uses=(use,)) for use in joint.uses)]
    cuts += [only(joint, side, head) for side in SIDES for head in getattr(joint, side)]
    pairs = [(copy, query) for copy in copies for query in queries if copy.layer < query.layer]
    pairs.sort(key=lambda pair: (_cost(pair[0], losses), pair[1].query.strength), reverse=True)
    cuts += [between([copy.place], [query.place]) for copy, query in pairs[:MAX_PAIRS]]
    return [(cut, "path") for cut in dict.fromkeys(cuts)]


def _cost(head: HeadReading, losses: Losses) -> float:
    effect = losses.of("head", [head.place])
    return 0.0 if effect is None else effect.factor.value


def only(joint: Knockout, side: Side, head: Head) -> Knockout:
    """What one query head reads of all copy heads before it, or all query heads behind it read of one copy head."""
    return between(joint.heads, (head,)) if side == "readers" else between((head,), joint.readers)


def without(joint: Knockout, side: Side, head: Head) -> Knockout:
    """All paths but those of one head."""
    rest = tuple(other for other in getattr(joint, side) if other != head)
    return between(joint.heads, rest) if side == "readers" else between(rest, joint.readers)


def remaining_knockouts(losses: Losses) -> Asked:
    """Where all paths together matter and no head's own do: all but one head's, to see whose are needed beside others'.

    Args:
        losses: Of the paths.
    """
    if not losses.paths or at_least(losses.paths[0].factor, MATTERS) is not True:
        return []
    joint = losses.paths[0].knockout
    sides = [side for side in SIDES if not alone(losses, side)]
    cuts = [without(joint, side, head) for side in sides for head in getattr(joint, side)]
    made = {path.knockout for path in losses.paths}  # of two heads, all but one is the other
    return [(cut, "remaining paths") for cut in cuts if cut not in made]


def alone(losses: Losses, side: Side) -> tuple[Head, ...]:
    """The heads of one side whose own paths matter."""
    joint = losses.paths[0].knockout
    own = {head: losses.cut(only(joint, side, head)) for head in getattr(joint, side)}
    return tuple(head for head, effect in own.items() if at_least(effect.factor, MATTERS))
