"""Similarity of errors and of induced weights of every layer to every family."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from mesascope.analyses.claim import NOT_LINEAR, Claim, Figure, Result
from mesascope.analyses.scope import Scope
from mesascope.analyses.similarity.bench import Bench
from mesascope.analyses.similarity.comparison import Comparison, compare
from mesascope.analyses.similarity.convergence import Convergence, measure_convergence
from mesascope.analyses.similarity.figures import draw
from mesascope.analyses.similarity.rivals import choose_rivals
from mesascope.analyses.units import prompts_per_unit
from mesascope.models import MesascopeError
from mesascope.models.learners.base import Sweep
from mesascope.models.tasks import Regression
from mesascope.probes.similarity import ByErrors, ByWeights, holds_weights


@dataclass(frozen=True)
class Similarity(Result):
    """Similarity of errors and of induced weights of every layer to every family, with floors and ceiling."""

    name: ClassVar[str] = "similarity"
    title: ClassVar[str] = "Similarity to learners"
    question: ClassVar[str] = "Whose errors, and whose weights, are each layer's like?"

    errors: Comparison
    weights: Comparison | None
    """None where y is not linear in x, x has one dimension, or no rival holds weights."""
    convergence: Convergence
    unit: int
    """Prompts in one unit of similarity of errors."""
    prefixes: tuple[int, ...]
    """Points seen where induced weights are compared."""
    empty_prefix: bool
    seed: int
    linear_task: bool = True
    """Whether y is linear in x, as most learners take it to be."""

    @property
    def comparisons(self) -> tuple[Comparison, ...]:
        """By errors, then by weights."""
        return (self.errors,) if self.weights is None else (self.errors, self.weights)

    @property
    def warnings(self) -> tuple[str, ...]:
        """A task for which the learners are the wrong ones."""
        return () if self.linear_task else (NOT_LINEAR,)

    @property
    def claims(self) -> tuple[Claim, ...]:
        """One claim a layer, the output first; by errors, then by weights."""
        return tuple(claim for found in self.comparisons for claim in found.claims)

    def figures(self) -> tuple[Figure, ...]:
        """Scores with floors and ceiling, heat maps over steps, matching steps by layer, and convergence."""
        return draw(self)

    def data(self) -> dict[str, Any]:
        """Every layer's matches and floors, the courses over steps, the ceiling, and errors by point."""
        return {
            "unit": self.unit,
            "prefixes": list(self.prefixes),
            "empty_prefix": self.empty_prefix,
            "seed": self.seed,
            **{found.by: found.data() for found in self.comparisons},
            "convergence": self.convergence.data(),
        }


def measure_similarity(
    scope: Scope,
    seed: int | None = None,
    n_prompts: int = 1_000,
    n_fit: int = 20_000,
    empty_prefix: bool = False,
    rivals: Sequence[str | Sweep] | None = None,
) -> Similarity:
    """Similarity of errors, and of induced weights, of every layer to every member of every family.

    Each family's best match is chosen for every layer on half as many other prompts, then scored beside its floors
    (the zero predictor, the layer's own predictions for another prompt, untrained twins) and a ceiling (each best
    match of the output as if it were the model). Weights are compared on a tenth of the prompts. Prompts come in
    batches and only sums are kept, so memory does not depend on their number.

    The score cannot tell learners apart by itself (methods, section 8), so no verdict names one. Members stand on a
    grid of scalars; a true learner between its points loses a percent or so.

    Args:
        scope: Where to look; a bare predictor is judged by its output alone.
        seed: Seed of the prompts; default the scope's.
        n_prompts: Prompts to score on; a quarter for the untrained twins.
        n_fit: Prompts to fit the layers' readouts on; a twentieth for each of the untrained twins.
        empty_prefix: Count the first point too, where every learner predicts zero (Fu's figures do, its text does
            not).
        rivals: Families by name, or sweeps of your own; default as `choose_rivals` says.

    Raises:
        MesascopeError: The task is discrete, the model reads no point after the first, a family is unknown, or there
            are too few prompts.

    Source: Fu et al. (2024), definitions 2 and 3, figures 2-4 and their like in the appendix; departures: floors,
    ceiling, intervals, and a match is not scored on the prompts it was chosen on.
    """
    scope = scope.reseeded(seed)
    sweeps = choose_rivals(scope.regression, rivals)
    key = ("similarity", n_prompts, n_fit, empty_prefix, sweeps)
    return scope.once(key, lambda: _measure(scope, n_prompts, n_fit, empty_prefix, sweeps))


def _measure(scope: Scope, n_prompts: int, n_fit: int, empty_prefix: bool, sweeps: tuple[Sweep, ...]) -> Similarity:
    task, read = scope.regression, scope.model.read_points(scope.task.n_points)
    points = [t for t in read if t > 0 or empty_prefix]
    if not any(points):
        raise MesascopeError(
            f"{scope.source} reads no point after the first of n_points={task.n_points}; use longer prompts"
        )
    unit = prompts_per_unit(len(points))
    bench = Bench(scope, ByErrors(read, points, unit), n_fit)
    errors = compare(bench, sweeps, bench.enough(n_prompts), bench.at_least(n_prompts // 2))
    prefixes, weights = _prefixes(points, task.n_dims), None
    holding = with_weights(task, sweeps)
    if holding:
        asked = Bench(scope, ByWeights(prefixes, scope.seed), n_fit)
        weights = compare(asked, holding, asked.at_least(n_prompts // 10), asked.at_least(n_prompts // 20))
    convergence = measure_convergence(bench, points, errors)
    return Similarity(errors, weights, convergence, unit, tuple(prefixes), empty_prefix, scope.seed, task.linear)


def with_weights(task: Regression, sweeps: Sequence[Sweep]) -> list[Sweep]:
    """Those that hold a w on this task: where y is not linear in x, or x has one dimension, none does."""
    return [sweep for sweep in sweeps if holds_weights(sweep.learner)] if task.linear and task.n_dims > 1 else []


def _prefixes(points: Sequence[int], n_dims: int) -> list[int]:
    """Where weights are compared: too few points to know w, as many as dimensions, twice as many, and all."""
    wanted = (n_dims // 2, n_dims, 2 * n_dims, points[-1])
    return sorted({min(points, key=lambda point: abs(point - t)) for t in wanted} - {0})
