"""Which heads copy, and which query."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mesascope.analyses.induction.answers import Answer, all_of, any_of, at_least, at_most, negated, proven
from mesascope.analyses.induction.effects import Effect, Losses
from mesascope.analyses.induction.reading import HeadReading, Querying, absolute
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
MOVES = 0.01
"""Of all its attention, the part that a query head must move between points. A correlation knows no size: attention
that is even but for a whisper may follow ⟨x_q, x_j⟩ perfectly, and tell no points apart. What a head writes differs by
at most twice this share of its largest value from what it would write if its attention were even. Of a head that moves
less and without which the loss is larger by `MATTERS` it cannot be said."""
COVERS = 0.2
"""Of the points, the part that a head must copy (by more than half) to share the work of a copy head."""

COPY, PARTIAL, COPY_LIKE, NO_COPY, QUERY, NEITHER, UNDETERMINED = (
    "copy head",
    "copy head at some points",
    "copy-like",
    "no copy head",
    "query head",
    "neither",
    "undetermined",
)


@dataclass(frozen=True)
class Nulls:
    """What scores reach where there is nothing to find."""

    copy: tuple[float, ...]
    """The highest copy score of each untrained twin's heads."""
    union: tuple[float, ...]
    """The same of its layers, if at every point the best head counts."""
    query: dict[str, tuple[float, ...]]
    """The highest |correlation| of each untrained twin's heads, by the kind of tokens."""
    shuffled: float
    """The highest |correlation| of the model's own heads with another prompt's ⟨x_q, x_j⟩, its interval included."""

    @property
    def for_copy(self) -> float:
        """What a copy score must be above, if it is above chance."""
        return max(self.copy, default=0.0)

    @property
    def for_union(self) -> float:
        """What the copy score of a layer must be above."""
        return max(self.union, default=0.0)

    def for_query(self, target: str) -> float:
        """What a |correlation| with tokens of one kind must be above.

        Tokens of x hold x even in an untrained model, and a random W_QK follows ⟨x_q, x_j⟩ by chance, the more so the
        fewer dimensions there are; those of y hold none of it before somebody copies.
        """
        return max((self.shuffled, *self.query[target]))

    def data(self) -> dict[str, Any]:
        """All of it."""
        by_target = {target: list(values) for target, values in self.query.items()}
        return {"copy": list(self.copy), "union": list(self.union), "query": by_target, "shuffled": self.shuffled}


@dataclass(frozen=True)
class Copies:
    """Whether a head is a copy head, question by question."""

    alone: Answer
    """Whether its attention copies: score and raw share high enough, above chance and untrained twins."""
    shared: Answer
    """Whether it copies some points, and the heads of its layer all of them, where none does so alone."""
    decisive: Answer
    """Whether the loss cannot do without it; None if ablations were left out."""
    ablated: bool = True

    @property
    def answer(self) -> Answer:
        """Whether it is a copy head, alone or with others."""
        return all_of(any_of(self.alone, self.shared), self.decisive)

    @property
    def verdict(self) -> str:
        """What it is to the tokens of one point, in a word."""
        copies = any_of(self.alone, self.shared)
        if copies is False:
            return NEITHER
        if copies and (self.decisive is False or not self.ablated):
            return COPY_LIKE
        if self.answer:
            return COPY if self.alone else PARTIAL
        return NO_COPY if self.answer is False else UNDETERMINED


def judge_copies(
    layer: Sequence[HeadReading], union: tuple[Estimate, Estimate] | None, losses: Losses | None, nulls: Nulls
) -> dict[str, Copies]:
    """Which heads of a layer are copy heads, by label.

    Args:
        layer: All heads of the layer.
        union: The layer's copy score and raw share, if at every point the best head counts.
        losses: What ablations do; None if they were left out.
        nulls: What scores must be above.
    """
    one_does = any_of(*(_copies(one.score, one.raw) for head in layer for one in head.copying))
    return {head.label: _judge(head, union, one_does, losses, nulls) for head in layer}


def _judge(
    head: HeadReading,
    union: tuple[Estimate, Estimate] | None,
    one_does: Answer,
    losses: Losses | None,
    nulls: Nulls,
) -> Copies:
    effect = None if losses is None else losses.of("head", [head.place])
    decisive = None if effect is None else is_decisive(effect)
    # A token may attend to the other half of its point in one direction more, and as a copy head does in the other.
    alone = any_of(
        *(
            all_of(_copies(one.score, one.raw), proven(one.score.low > max(nulls.for_copy, one.chance)))
            for one in head.copying
        )
    )
    shared: Answer = False
    if union is not None:
        own = [
            all_of(at_least(one.covered, COVERS), proven(union[0].low > max(nulls.for_union, one.chance)))
            for one in head.copying
        ]
        shared = all_of(negated(one_does), _copies(*union), any_of(*own))
    return Copies(alone, shared, decisive, losses is not None)


def _copies(score: Estimate, raw: Estimate) -> Answer:
    """Whether attention goes where it must, both beside itself and of all."""
    return all_of(at_least(score, COPIES), at_least(raw, AT_LEAST))


def is_decisive(effect: Effect) -> Answer:
    """Whether the loss cannot do without: ten times as large, or most of what was gained is lost.

    A model whose own loss is a good part of the zero predictor's, such as one gradient step, has no factor of ten to
    lose.
    """
    most_is_lost = all_of(at_least(effect.factor, MATTERS), at_least(effect.lost, MOST))
    return any_of(at_least(effect.factor, DECISIVE), most_is_lost)


def judge_query(head: HeadReading, losses: Losses | None, nulls: Nulls) -> Answer:
    """Whether a head's attention follows ⟨x_q, x_j⟩, not because of y_j; None also if untrained heads do so too.

    Args:
        head: The head.
        losses: What ablations do; None if they were left out.
        nulls: What correlations must be above.
    """
    effect = None if losses is None else losses.of("head", [head.place])
    unneeded = effect is None or not at_least(effect.factor, MATTERS)
    return any_of(*(_follows(towards, nulls.for_query(towards.target), unneeded) for towards in head.querying))


def _follows(towards: Querying, null: float, unneeded: bool) -> Answer:
    size = absolute(towards.correlation)
    return all_of(
        at_least(size, FOLLOWS),
        at_most(absolute(towards.label), CONTROL),
        # Behind a sink that takes the rest, the little that moves may be all that a head tells; if it tells something.
        any_of(at_least(towards.moved, MOVES), negated(proven(unneeded))),
        proven(size.low > null),
    )


def query_verdict(answer: Answer) -> str:
    """The same in a word."""
    return {True: QUERY, False: NEITHER, None: UNDETERMINED}[answer]
