"""Which heads copy, which query, and whether the one feeds the other."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mesascope.analyses.induction.effects import Effect, Losses
from mesascope.analyses.induction.reading import HeadReading, Querying
from mesascope.probes import Estimate

COPIES, AT_LEAST = 0.8, 0.5
"""Copy score of a copy head away from the last points; and the share of all its attention that this must be."""
DECISIVE, MATTERS = 10.0, 1.5
"""Factors on the loss without a copy head, and without what the circuit needs."""
MOST, LEARNED = 2 / 3, 0.75
"""The share of the gain over predicting zero whose loss is decisive too, and that of the zero predictor's loss up to
which a model has learned something."""
FOLLOWS, CONTROL = 0.5, 0.2
"""|Correlation| of a query head with ⟨x_q, x_j⟩, and with y_j at most."""
COVERS = 0.2
"""Of the points, the part that a head must copy (by more than half) to share the work of a copy head."""

COPY, PARTIAL, COPY_LIKE, QUERY, NEITHER, UNDETERMINED = (
    "copy head",
    "copy head at some points",
    "copy-like",
    "query head",
    "neither",
    "undetermined",
)
NO_CIRCUIT, QUERY_ONLY, CIRCUIT = "no circuit", "query heads only (tokens hold x and y)", "induction circuit"


@dataclass(frozen=True)
class Nulls:
    """What scores reach where there is nothing to find."""

    copy: tuple[float, ...]
    """The highest copy score of each untrained twin's heads."""
    query: dict[str, tuple[float, ...]]
    """The highest |correlation| of each untrained twin's heads, by the kind of tokens."""
    shuffled: float
    """The highest |correlation| of the model's own heads with another prompt's ⟨x_q, x_j⟩, its interval included."""

    @property
    def for_copy(self) -> float:
        """What a copy score must be above, if it is above chance."""
        return max(self.copy, default=0.0)

    def for_query(self, target: str) -> float:
        """What a |correlation| with tokens of one kind must be above.

        Tokens of x hold x even in an untrained model, and a random W_QK follows ⟨x_q, x_j⟩ by chance, the more so the
        fewer dimensions there are; those of y hold none of it before somebody copies.
        """
        return max((self.shuffled, *self.query[target]))

    def data(self) -> dict[str, Any]:
        """All of it."""
        by_target = {target: list(values) for target, values in self.query.items()}
        return {"copy": list(self.copy), "query": by_target, "shuffled": self.shuffled}


def copy_verdict(
    head: HeadReading, losses: Losses | None, union: Estimate | None, null: float, away: Sequence[int]
) -> str:
    """What a head is to the tokens of one point.

    A copy head: score and raw share high enough, above chance and untrained twins, and decisive for the loss. Heads of
    a layer may also share the points among them.

    Args:
        head: Its attention.
        losses: What its ablation does; None if that was left out.
        union: The score of its layer, if at every point the best head counts.
        null: See `Nulls.for_copy`.
        away: The points that the score is over.
    """
    copy = head.copy
    if copy is None:
        return NEITHER
    above = max(null, copy.chance)
    scores = _at_least(copy.score, COPIES) if copy.raw.low >= AT_LEAST and copy.score.low > above else False
    covered = sum(copy.by_point[point] > 0.5 for point in away) / len(away)
    shares = union is not None and _at_least(union, COPIES) and covered >= COVERS and above < COPIES
    if losses is None:
        return COPY_LIKE if scores or shares else NEITHER
    ablation = losses.of("head", [head.place])
    decisive = None if ablation is None else is_decisive(ablation)
    if scores and decisive:
        return COPY
    if scores is False and shares and decisive:
        return PARTIAL
    if scores is None or (scores and decisive is None):
        return UNDETERMINED
    return COPY_LIKE if scores or shares else NEITHER


def is_decisive(effect: Effect) -> bool | None:
    """Whether the loss cannot do without: ten times as large, or most of what was gained is lost; None if it straddles.

    A model whose own loss is a good part of the zero predictor's, such as one gradient step, has no factor of ten to
    lose.
    """
    tenfold, matters = _at_least(effect.factor, DECISIVE), _at_least(effect.factor, MATTERS)
    most = _at_least(effect.lost, MOST) if matters else False
    if tenfold or most:
        return True
    return None if tenfold is None or most is None else False


def query_verdict(head: HeadReading, nulls: Nulls) -> str:
    """Whether a head's attention follows ⟨x_q, x_j⟩, not because of y_j; undetermined if untrained heads do so too."""
    verdicts = [_follows(towards, nulls.for_query(towards.target)) for towards in head.querying]
    if True in verdicts:
        return QUERY
    return UNDETERMINED if None in verdicts else NEITHER


def _follows(towards: Querying, null: float) -> bool | None:
    low, high = towards.interval
    control = max(abs(towards.label.low), abs(towards.label.high))
    if high < FOLLOWS or abs(towards.label.value) > CONTROL:
        return False
    return True if low >= FOLLOWS and control <= CONTROL and low > null else None


def _at_least(estimate: Estimate, threshold: float) -> bool | None:
    """None if the interval straddles."""
    if estimate.low >= threshold:
        return True
    return False if estimate.high < threshold else None


@dataclass(frozen=True)
class Circuit:
    """What the heads are together."""

    verdict: str
    why: str
    copies: tuple[str, ...] = ()
    fed: tuple[str, ...] = ()


def find_circuit(
    together: bool, copies: Sequence[HeadReading], queries: Sequence[HeadReading], losses: Losses | None, unsure: bool
) -> Circuit:
    """The circuit, if there is one.

    Args:
        together: Whether tokens hold x and y, so that nothing needs to be copied.
        copies: The copy heads.
        queries: The query heads.
        losses: Of the ablations and paths; None if they were left out.
        unsure: Whether some head's verdict is undetermined.
    """
    if losses is None:
        return Circuit(UNDETERMINED, "ablations and paths were left out")
    if losses.learned.low > LEARNED:
        return Circuit(NO_CIRCUIT, f"the model's loss is {losses.learned.value:.2g} of that of predicting zero")
    if not queries or not (together or copies):
        missing = "query head" if not queries else "copy head"
        if unsure:
            return Circuit(UNDETERMINED, f"there is no {missing} for certain, and heads of which that cannot be said")
        return Circuit(NO_CIRCUIT, f"there is no {missing}")
    if losses.learned.high > LEARNED:
        return Circuit(UNDETERMINED, f"the model's loss is {losses.learned} of that of predicting zero")
    if together:
        return _without_copies(losses)
    return _with_copies(copies, queries, losses)


def _without_copies(losses: Losses) -> Circuit:
    effect = losses.of("query heads")
    assert effect is not None  # there are query heads
    matters = _at_least(effect.factor, MATTERS)
    why = f"without the query heads the loss is {effect.factor} times as large"
    return Circuit({True: QUERY_ONLY, False: NO_CIRCUIT, None: UNDETERMINED}[matters], why)


def _with_copies(copies: Sequence[HeadReading], queries: Sequence[HeadReading], losses: Losses) -> Circuit:
    paths = losses.paths
    if not paths:
        return Circuit(NO_CIRCUIT, "no query head comes after a copy head")
    joint = paths[0]
    matters = _at_least(joint.factor, MATTERS)
    why = f"without what query heads read of copy heads the loss is {joint.factor} times as large"
    if matters is not True:
        return Circuit(NO_CIRCUIT if matters is False else UNDETERMINED, why)
    cut = {path.knockout: path for path in paths if len(path.knockout.components) == 3}
    alone = {k: path for k, path in cut.items() if len(k.heads) == len(k.readers) == 1 and path.factor.low > 1}
    writers = {head for k in alone for head in k.heads} or set(joint.knockout.heads)
    readers = {head for k in alone for head in k.readers} or set(joint.knockout.readers)
    fed = tuple(head.label for head in queries if head.place in readers)
    feeding = tuple(head.label for head in copies if head.place in writers)
    said = f"copy {_heads(feeding)} feed{'s' * (len(feeding) == 1)} query {_heads(fed)}"
    return Circuit(f"{CIRCUIT}: {said}", why, feeding, fed)


def _heads(labels: Sequence[str]) -> str:
    return f"head{'s' * (len(labels) > 1)} {', '.join(labels)}"
