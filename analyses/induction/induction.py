"""Which heads copy y to its x, and which look for points like the query: induction heads on regression prompts."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor

from mesascope.analyses.claim import Claim, Figure, Result
from mesascope.analyses.fitting import n_twin_prompts
from mesascope.analyses.induction.answers import Answer
from mesascope.analyses.induction.attention import N_BLOCKS, Attention, read_attention
from mesascope.analyses.induction.circuit import Circuit, find_circuit
from mesascope.analyses.induction.claims import all_claims
from mesascope.analyses.induction.discrete import DiscreteReading, read_discrete
from mesascope.analyses.induction.effects import (
    Bench,
    Losses,
    joint_knockouts,
    single_knockouts,
)
from mesascope.analyses.induction.paths import named_knockouts, path_knockouts, remaining_knockouts
from mesascope.analyses.induction.reading import HeadReading
from mesascope.analyses.induction.verdict import Copies, Nulls, judge_copies, judge_query, query_verdict
from mesascope.analyses.induction.weights import ComposedLayers, Derivatives, composed_layers, read_derivatives
from mesascope.analyses.matching import holds_constructions, match_weights
from mesascope.analyses.scope import Scope
from mesascope.models import HookedRegressor, MesascopeError


@dataclass(frozen=True)
class Induction(Result):
    """Every head's attention, what its absence costs, and who reads whom."""

    name: ClassVar[str] = "induction"
    title: ClassVar[str] = "Induction heads"
    question: ClassVar[str] = (
        "Which heads bring y to its x, which look for points like the query, and is that a circuit?"
    )
    evidence = "causes"

    attention: Attention
    nulls: Nulls
    losses: Losses | None
    """None if ablations were left out."""
    composed: tuple[ComposedLayers, ...]
    """What the weights of earlier heads have in common with those of later ones."""
    derivatives: Derivatives | None
    """None where tokens hold x and y, and if derivatives were left out."""
    discrete: tuple[DiscreteReading, ...]
    """None but for models of discrete tokens."""
    construction: str | None
    """What the weights are said to be, beside "induction as 1 step of GD", where that has the architecture."""
    n_prompts: int
    seed: int

    @property
    def heads(self) -> tuple[HeadReading, ...]:
        """All of them, layer by layer."""
        return self.attention.heads

    @cached_property
    def copy_verdicts(self) -> dict[str, str]:
        """By label, what each head is to x and y of one point."""
        return {label: copies.verdict for label, copies in self._copies.items()}

    @cached_property
    def query_verdicts(self) -> dict[str, str]:
        """By label, whether each head looks for points like the query."""
        return {label: query_verdict(answer) for label, answer in self._queries.items()}

    @cached_property
    def _copies(self) -> dict[str, Copies]:
        return _judge_copies(self.attention, self.nulls, self.losses)

    @cached_property
    def _queries(self) -> dict[str, Answer]:
        return {head.label: judge_query(head, self.losses, self.nulls) for head in self.heads}

    @property
    def copy_heads(self) -> tuple[HeadReading, ...]:
        """Those that bring x and y of a point together."""
        return tuple(head for head in self.heads if self._copies[head.label].answer)

    @property
    def query_heads(self) -> tuple[HeadReading, ...]:
        """Those that look for points like the query."""
        return tuple(head for head in self.heads if self._queries[head.label])

    @cached_property
    def circuit(self) -> Circuit:
        """What they are together."""
        copies = {head.place: self._copies[head.label].answer for head in self.heads}
        queries = {head.place: self._queries[head.label] for head in self.heads}
        return find_circuit(None if self.attention.roles.together else copies, queries, self.losses)

    @property
    def verdict(self) -> str:
        """The circuit in a line."""
        return self.circuit.verdict

    @property
    def claims(self) -> tuple[Claim, ...]:
        """The circuit, the best copy and query scores, then every head."""
        return all_claims(self)

    @property
    def headlines(self) -> tuple[Claim, ...]:
        """The circuit."""
        return self.claims[:1]

    def figures(self) -> tuple[Figure, ...]:
        """Attention maps, scores, losses without heads, the circuit, derivatives, and both ways of measuring."""
        from mesascope.analyses.induction.figures import draw

        return draw(self)

    def data(self) -> dict[str, Any]:
        """Every number."""
        return {
            "seed": self.seed,
            "n_prompts": self.n_prompts,
            "verdict": self.verdict,
            "why": self.circuit.why,
            "query_points": list(self.attention.queries),
            "counted_points": list(self.attention.counted),
            "copied_points": list(self.attention.away),
            "nulls": self.nulls.data(),
            "heads": [
                head.data() | {"copy": self.copy_verdicts[head.label], "query": self.query_verdicts[head.label]}
                for head in self.heads
            ],
            "losses": None if self.losses is None else self.losses.data(),
            "composition": [layers.data() for layers in self.composed],
            "derivatives": None if self.derivatives is None else self.derivatives.data(),
            "discrete": [reading.data() for reading in self.discrete],
            "construction": self.construction,
            "tokens": list(self.attention.roles.names),
            "patterns": _rounded(self.attention.patterns),
        }


def _rounded(patterns: Float[Tensor, "n_heads pos pos"]) -> list[Any]:
    """Four digits: they are drawn, not computed with."""
    return [[[round(value, 4) for value in row] for row in pattern] for pattern in patterns.tolist()]


def _judge_copies(attention: Attention, nulls: Nulls, losses: Losses | None) -> dict[str, Copies]:
    """Layer by layer, for heads may share the work."""
    found: dict[str, Copies] = {}
    for layer in dict.fromkeys(head.layer for head in attention.heads):
        heads = [head for head in attention.heads if head.layer == layer]
        found |= judge_copies(heads, attention.unions.get(layer), losses, nulls)
    return found


def holds_heads(scope: Scope) -> bool:
    """Whether a model has attention, and reads a point that others come before."""
    if not (isinstance(scope.model, HookedRegressor) and scope.model.attentions):
        return False
    return any(point > 0 for point in scope.model.read_points(scope.task.n_points))


def find_induction(
    scope: Scope,
    seed: int | None = None,
    n_prompts: int = 400,
    n_scored: int | None = None,
    ablate: bool = True,
    weigh: bool = True,
) -> Induction:
    """Find the heads that copy, the heads that query, and the paths between them.

    A copy head brings x and y of a point into one token, a query head's attention follows ⟨x_q, x_j⟩: together they are
    to points what an induction head is to tokens, and what a gradient step on the points needs.

    Args:
        scope: A model with heads.
        seed: Seed of the prompts and nulls; default the scope's.
        n_prompts: Prompts whose attention is read.
        n_scored: Prompts whose loss is measured without heads, others than those; default so many that there are
            `N_PREDICTIONS` predictions to score, and 240 at least.
        ablate: Whether to leave out heads and cut paths, on which the verdict rests; the dearest part.
        weigh: Whether to read what bears on no verdict too: the composition of weights, the derivatives of the first
            layer, and the construction that all weights together are nearest to.

    Raises:
        MesascopeError: The model is a bare predictor, has no attention, or there are fewer than 40 prompts.

    Source: von Oswald et al. (2023), section 5, for copy and query in regression; Olsson et al. (2022) for induction
    heads; Wang et al. (2022) for paths. The rules are ours.
    """
    if min(n_prompts, n_scored or n_prompts) < 2 * N_BLOCKS:
        raise MesascopeError(
            f"n_prompts={n_prompts}, n_scored={n_scored}: the intervals need at least {2 * N_BLOCKS} prompts of each"
        )
    if not scope.hooked.attentions:
        raise MesascopeError(
            f"{scope.source} (block={scope.hooked.cfg.block!r}) has no attention, so no heads to look for; attach to a "
            "transformer, such as zoo:decoder-d5"
        )
    if not holds_heads(scope):
        raise MesascopeError(
            f"{scope.source} reads no point that others come before (n_points={scope.task.n_points}); attach with a "
            "task of two points or more"
        )
    scope = scope.reseeded(seed)
    key = ("induction", n_prompts, n_scored, ablate, weigh)
    return scope.once(key, lambda: _find(scope, n_prompts, n_scored, ablate, weigh))


def _find(scope: Scope, n_prompts: int, n_scored: int | None, ablate: bool, weigh: bool) -> Induction:
    attention = read_attention(scope, n_prompts)
    nulls = _nulls(scope, attention, n_twin_prompts(n_prompts))
    losses = _measure(scope, attention, nulls, n_scored) if ablate else None
    sequence = scope.hooked.cfg.layout == "sequence"
    return Induction(
        attention,
        nulls,
        losses,
        composed_layers(scope) if weigh else (),
        read_derivatives(scope, attention.roles) if weigh and attention.roles.copies else None,
        read_discrete(scope, n_prompts),
        match_weights(scope).verdict if weigh and sequence and holds_constructions(scope) else None,
        n_prompts,
        scope.seed,
    )


def _nulls(scope: Scope, attention: Attention, n_prompts: int) -> Nulls:
    twins = [_attention(twin, n_prompts) for twin in scope.untrained]
    shuffled = [one.shuffled for head in attention.heads for one in head.querying]
    targets = [one.target for one in attention.heads[0].querying]
    return Nulls(
        tuple(max((head.copy.score.value for head in twin.heads if head.copy), default=0.0) for twin in twins),
        tuple(max((score.value for score, _ in twin.unions.values()), default=0.0) for twin in twins),
        {target: tuple(max(_strength(head, target) for head in twin.heads) for twin in twins) for target in targets},
        max(max(abs(one.low), abs(one.high)) for one in shuffled),
    )


def _attention(twin: Scope, n_prompts: int) -> Attention:
    """Read once: the checkpoints of a run have their twins in common."""
    return twin.once(("attention", n_prompts), lambda: read_attention(twin, n_prompts))


def _strength(head: HeadReading, target: str) -> float:
    return max(one.strength for one in head.querying if one.target == target)


def _measure(scope: Scope, attention: Attention, nulls: Nulls, n_scored: int | None) -> Losses:
    """Ablations first, for which heads copy hangs on them; then the paths between those and the query heads."""
    bench = Bench(scope, n_scored)
    singles = bench.score(single_knockouts(scope))
    ranked = sorted(
        (e for e in singles.effects if e.what == "head" and e.knockout.kind == "mean"), key=lambda e: -e.factor.value
    )
    judged = _judge_copies(attention, nulls, singles)
    copies = [head for head in attention.heads if judged[head.label].answer]
    queries = [head for head in attention.heads if judge_query(head, singles, nulls)]
    asked = joint_knockouts(copies, queries, [effect.knockout.heads[0] for effect in ranked])
    found = bench.score([*asked, *path_knockouts(copies, queries, singles)]).joined(singles)
    for which in (remaining_knockouts, named_knockouts):
        further = which(found)
        found = bench.score(further).joined(found) if further else found
    return found
