"""Which paths from copy heads to query heads are cut."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from mesascope.analyses.induction.answers import Answer, any_of, at_least
from mesascope.analyses.induction.effects import Asked, Losses, What
from mesascope.analyses.induction.reading import HeadReading
from mesascope.analyses.induction.verdict import MATTERS
from mesascope.probes.ablation import Head, Knockout

MAX_PAIRS = 32
"""Most pairs of a copy head and a query head between which paths are cut: they are drawn, and bear on no verdict."""
NEEDED = 1.1
"""How much more the cut of all paths must cost than that of all but one head's, for these to be needed beside others.
Of n heads with equal parts in one work, the cut of all costs n² / (n − 1)² times as much where the error goes by the
square of what is cut: more than 1.1 for up to 21 heads."""
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
    """Where all paths together matter: all but those of each head whose own do not, to see if they do beside others'.

    Args:
        losses: Of the paths.
    """
    if not matter(losses):
        return []
    joint = losses.paths[0].knockout
    heads = [(side, head) for side in SIDES for head in getattr(joint, side) if not alone(losses, side, head)]
    return _new(losses, [without(joint, side, head) for side, head in heads], "remaining paths")


def named_knockouts(losses: Losses) -> Asked:
    """Where all paths together matter: those between the heads that are needed, to see if they are all that there is.

    Args:
        losses: Of the paths, and of all but one head's.
    """
    named = named_paths(losses) if matter(losses) else None
    return _new(losses, [named], "named paths") if named and named.readers else []


def _new(losses: Losses, cuts: Sequence[Knockout], what: What) -> Asked:
    made = {effect.knockout for effect in losses.effects}  # of two heads, all but one is the other
    return [(cut, what) for cut in dict.fromkeys(cuts) if cut not in made]


def matter(losses: Losses) -> bool:
    """Whether all paths together do for certain."""
    return bool(losses.paths) and at_least(losses.paths[0].factor, MATTERS) is True


def alone(losses: Losses, side: Side, head: Head) -> Answer:
    """Whether a head's own paths matter."""
    return at_least(losses.cut(only(losses.paths[0].knockout, side, head)).factor, MATTERS)


def needed(losses: Losses, side: Side, head: Head) -> Answer:
    """Whether a head's own paths matter, or the cut of all paths costs more than that of all but these."""
    by_itself = alone(losses, side, head)
    if by_itself:
        return True
    joint = losses.paths[0]
    return any_of(by_itself, at_least(joint.relative_to(losses.cut(without(joint.knockout, side, head))), NEEDED))


def named_paths(losses: Losses) -> Knockout:
    """The paths between the heads that are needed; none, if no needed query head comes after a needed copy head."""
    joint = losses.paths[0].knockout
    return between(*([head for head in getattr(joint, side) if needed(losses, side, head)] for side in SIDES))
