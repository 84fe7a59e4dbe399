"""Which paths from copy heads to query heads are cut."""

from collections.abc import Callable, Sequence
from typing import Literal

from mesascope.analyses.induction.answers import at_least
from mesascope.analyses.induction.effects import Asked, Losses
from mesascope.analyses.induction.reading import HeadReading
from mesascope.analyses.induction.verdict import MATTERS
from mesascope.probes.ablation import Head, Knockout

MAX_COPIES, MAX_QUERIES = 4, 8
"""Most copy heads and query heads between which paths are cut."""
Side = Literal["heads", "readers"]
"""Of a cut: the copy heads that write, or the query heads that read."""
SIDES: tuple[Side, Side] = ("heads", "readers")


def path_knockouts(copies: Sequence[HeadReading], queries: Sequence[HeadReading], losses: Losses) -> Asked:
    """All copy heads into all query heads behind them, and by what they are read as; then single heads of either side.

    Where there are many, those copy heads without which the loss is the largest, and those query heads that follow the
    most.

    Args:
        copies: The copy heads.
        queries: The query heads.
        losses: Of single ablations.
    """
    copies = [copy for copy in copies if any(copy.layer < query.layer for query in queries)]
    queries = [query for query in queries if any(copy.layer < query.layer for copy in copies)]
    costliest = _first(copies, MAX_COPIES, lambda head: _cost(head, losses))
    strongest = _first(queries, MAX_QUERIES, lambda head: head.query.strength)
    writers = tuple(head.place for head in costliest if any(head.layer < query.layer for query in strongest))
    readers = tuple(head.place for head in strongest if any(copy.layer < head.layer for copy in costliest))
    if not readers:
        return []
    joint = Knockout(writers, "mean", readers)
    cuts = [joint, *(Knockout(writers, "mean", readers, (use,)) for use in joint.uses)]
    cuts += [only(joint, side, head) for side in SIDES for head in getattr(joint, side)]
    cuts += [Knockout((w,), "mean", (r,)) for w in writers for r in readers if w[0] < r[0]]
    return [(cut, "path") for cut in dict.fromkeys(cuts)]


def _first(heads: Sequence[HeadReading], most: int, by: Callable[[HeadReading], float]) -> list[HeadReading]:
    """Those with the most of something, layer by layer."""
    chosen = sorted(heads, key=by, reverse=True)[:most]
    return [head for head in heads if head in chosen]


def _cost(head: HeadReading, losses: Losses) -> float:
    effect = losses.of("head", [head.place])
    return 0.0 if effect is None else effect.factor.value


def only(joint: Knockout, side: Side, head: Head) -> Knockout:
    """What one query head reads of all copy heads before it, or all query heads behind it read of one copy head."""
    if side == "readers":
        return Knockout(tuple(writer for writer in joint.heads if writer[0] < head[0]), "mean", (head,))
    return Knockout((head,), "mean", tuple(reader for reader in joint.readers if head[0] < reader[0]))


def without(joint: Knockout, side: Side, head: Head) -> Knockout:
    """All paths but those of one head."""
    rest = tuple(other for other in getattr(joint, side) if other != head)
    return Knockout(joint.heads, "mean", rest) if side == "readers" else Knockout(rest, "mean", joint.readers)


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
