"""Whose errors, and whose weights, are each layer's like?"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.analyses.claim import NOT_LINEAR, Claim, Figure, Result, as_json
from mesascope.analyses.layers import layer_label, layer_readers
from mesascope.analyses.scope import BATCH, PredictorModel, Scope
from mesascope.analyses.units import prompts_per_unit
from mesascope.models import HookedRegressor, Learner, MesascopeError, Prompts
from mesascope.models.battery import rivals as rivals_of
from mesascope.models.errors import nearest
from mesascope.models.learners.base import IterativeLearner, Sweep
from mesascope.models.tasks import Regression
from mesascope.probes import Estimate, prediction_interval
from mesascope.probes.induced import Predict, layer_predictor
from mesascope.probes.similarity import ByErrors, ByWeights, Measure, Roster, SimilaritySums, holds_weights

N_BLOCKS = 20
MIN_LAYERS = 3
"""Layers that a course of steps needs for a line through it to say anything."""


@dataclass(frozen=True)
class Match:
    """The member of one family that a layer is most similar to, on prompts other than those it was chosen on."""

    family: str
    learner: Learner
    similarity: Estimate
    zero: float
    """The zero predictor's similarity to the same learner; 0 for weights, of which it has none."""
    shuffled: float
    """That of the layer's predictions (or weights) for another prompt."""
    lead: Estimate
    """The similarity minus the higher of the last two, prompt by prompt."""
    untrained: Estimate | None
    """That of the untrained twins at the same place: their mean, and the interval in which one more would fall."""

    @property
    def floor(self) -> float:
        """The highest of the three; a cosine is 1 at most."""
        return min(1.0, max(self.zero, self.shuffled, self.untrained.high if self.untrained else -1.0))

    @property
    def verdict(self) -> str:
        """Above its floor, no more than it, or undetermined when an interval says neither. It names no algorithm."""
        twin = self.untrained.high if self.untrained else -math.inf
        if self.lead.low > 0 and self.similarity.low > twin:
            return "above its floor"
        below = self.lead.high <= 0 or self.similarity.high <= twin
        return "no more than its floor" if below else "undetermined"


@dataclass(frozen=True)
class LayerSimilarity:
    """One layer's best match in every family, the most similar first."""

    label: str
    matches: tuple[Match, ...]

    @property
    def best(self) -> Match:
        """The most similar family's match."""
        return self.matches[0]


@dataclass(frozen=True)
class Course:
    """Every layer against one learner after different numbers of steps."""

    sweep: Sweep
    """Of its family the one whose best matches are the most similar, summed over layers."""
    labels: tuple[str, ...]
    similarities: tuple[tuple[float, ...], ...]
    """[layer][step], on the tuning prompts."""
    counted: tuple[int, ...]
    """Indices of the layers whose best match is above its floor."""

    @property
    def family(self) -> str:
        """Its family."""
        return self.sweep.learner.family

    @property
    def name(self) -> str:
        """The learner without its number of steps."""
        learner = self.sweep.learner
        return learner.label.replace(f" k={learner.n_steps}", "") if isinstance(learner, IterativeLearner) else ""

    @property
    def best_steps(self) -> tuple[int, ...]:
        """The best-matching number of steps of each layer."""
        return tuple(self.sweep.steps[int(np.argmax(row))] for row in self.similarities)

    @property
    def depths(self) -> tuple[int, ...]:
        """Numbers of the layers that count: those of the residual stream that are above their floor."""
        return tuple(int(self.labels[i].split()[1]) for i in self.counted if self.labels[i].startswith("layer "))

    @property
    def steps_by_depth(self) -> tuple[int, ...]:
        """The best-matching number of steps of each of them."""
        return tuple(self.best_steps[i] for i in self.counted if self.labels[i].startswith("layer "))

    def growth(self, law: str) -> tuple[float, float, float] | None:
        """Slope, intercept and R² of k (law "linear") or of log2 k ("exponential") against the layer's number.

        None where fewer than three layers count, or all have the same k; no exponential goes through k = 0.
        """
        x, k = np.array(self.depths, dtype=float), np.array(self.steps_by_depth, dtype=float)
        if len(x) < MIN_LAYERS or (k == k[0]).all() or (law == "exponential" and not k.all()):
            return None
        values = k if law == "linear" else np.log2(k)
        slope, intercept = np.polyfit(x, values, 1)
        left = values - (slope * x + intercept)
        return float(slope), float(intercept), float(1 - left.var() / values.var())


@dataclass(frozen=True)
class Comparison:
    """Every layer against every family, by errors or by weights."""

    by: str
    layers: tuple[LayerSimilarity, ...]
    courses: tuple[Course, ...]
    """One for every family that makes steps."""
    ceiling: tuple[tuple[float, ...], ...]
    """Row i: the output's match i as if it were the model, against every family in the order of those matches."""
    by_part: dict[str, tuple[float, ...]]
    """The output's similarity to each family's match: by weights after each of the prefixes, by errors in one part."""
    n_prompts: int
    n_tune: int

    @property
    def output(self) -> LayerSimilarity:
        """The model's own prediction."""
        return self.layers[-1]


@dataclass(frozen=True)
class Convergence:
    """Mean squared errors by point, of layers and of the iterates of the courses' learners; tuning prompts."""

    points: tuple[int, ...]
    late: tuple[int, ...]
    """Indices of the points that count as late."""
    null: tuple[float, ...]
    """Of predicting zero."""
    layers: dict[str, tuple[float, ...]]
    iterates: dict[str, tuple[tuple[float, ...], ...]]
    """By family: [step][point]."""

    def relative(self, errors: Sequence[float]) -> float:
        """The error at the late points, relative to that of predicting zero."""
        return sum(errors[i] for i in self.late) / sum(self.null[i] for i in self.late)


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
        return tuple(_claim(found.by, layer) for found in self.comparisons for layer in reversed(found.layers))

    def figures(self) -> tuple[Figure, ...]:
        """Scores with floors and ceiling, heat maps over steps, matching steps by layer, and convergence."""
        from mesascope.analyses.similarity_figures import draw

        return draw(self)

    def data(self) -> dict[str, Any]:
        """Every layer's matches and floors, the courses over steps, the ceiling, and errors by point."""
        return {
            "unit": self.unit,
            "prefixes": list(self.prefixes),
            "empty_prefix": self.empty_prefix,
            "seed": self.seed,
            **{found.by: _as_json(found) for found in self.comparisons},
            "convergence": {
                "points": list(self.convergence.points),
                "null": list(self.convergence.null),
                "layers": {label: list(row) for label, row in self.convergence.layers.items()},
                "iterates": {name: [list(row) for row in rows] for name, rows in self.convergence.iterates.items()},
            },
        }


def _claim(by: str, layer: LayerSimilarity) -> Claim:
    best, where = layer.best, "The output" if layer.label == "output" else f"The reading of {layer.label}"
    like = "errs most like" if by == "errors" else "holds weights most like those of"
    rest = ", ".join(f"{match.family} {match.similarity.value:.4f}" for match in layer.matches[1:4])
    return Claim(
        id=f"similarity.{by}.{layer.label.replace(' ', '_')}",
        text=f"{where} {like} {best.learner.label}, with similarity {best.similarity.value:.4f}; "
        f"its floor is {best.floor:.4f}" + (f" (next: {rest})." if rest else "."),
        value=best.similarity.value,
        ci=best.similarity.ci,
        null=best.floor,
        verdict=best.verdict,
    )


def _as_json(found: Comparison) -> dict[str, Any]:
    return {
        "n_prompts": found.n_prompts,
        "n_tune": found.n_tune,
        "layers": [
            {
                "label": layer.label,
                "matches": [
                    {
                        "family": match.family,
                        "learner": match.learner.label,
                        "similarity": as_json(match.similarity),
                        "zero": match.zero,
                        "shuffled": match.shuffled,
                        "lead": as_json(match.lead),
                        "untrained": match.untrained and as_json(match.untrained),
                        "verdict": match.verdict,
                    }
                    for match in layer.matches
                ],
            }
            for layer in found.layers
        ],
        "courses": {
            course.family: {
                "learner": course.name,
                "steps": list(course.sweep.steps),
                "similarities": [list(row) for row in course.similarities],
                "best_steps": list(course.best_steps),
                "r2": {law: (fit := course.growth(law)) and fit[2] for law in ("linear", "exponential")},
            }
            for course in found.courses
        },
        "ceiling": [list(row) for row in found.ceiling],
        "by_part": {family: list(row) for family, row in found.by_part.items()},
    }


class Bench:
    """A model and its untrained twins, ready to be compared with learners by one measure.

    Args:
        scope: The model.
        measure: By errors or by weights.
        n_fit: Prompts to fit the layers' readouts on.
    """

    def __init__(self, scope: Scope, measure: Measure, n_fit: int):
        self.scope, self.measure, self.n_fit = scope, measure, n_fit

    def own(self, prompts: Prompts) -> Float[Tensor, "n_layers batch *rest"]:
        """What every layer gives."""
        return self.measure.read(stages(self.scope, self.n_fit), prompts)

    def twins(self, prompts: Prompts) -> Float[Tensor, "n_twins_and_layers batch *rest"]:
        """What every layer of each untrained twin gives, twin after twin."""
        # There are several, so each is read with an affine map from fewer prompts; still hundreds for every feature.
        n_fit = max(2 * N_BLOCKS, self.n_fit // 20)
        return torch.cat([self.measure.read(stages(twin, n_fit), prompts) for twin in self.scope.untrained])

    def given(self, roster: Roster, prompts: Prompts) -> Float[Tensor, "n_members batch *rest"]:
        """What every member of a roster gives."""
        return torch.cat([self.measure.predict(sweep, prompts) for sweep in roster.sweeps])

    def labels(self) -> tuple[str, ...]:
        """The layers' names."""
        model = self.scope.model
        hooks = model.residual_hooks if isinstance(model, HookedRegressor) else []
        return (*(layer_label(hook) for hook in hooks), "output")

    def batches(self, n_prompts: int, stream: str) -> Iterator[Prompts]:
        """Prompts of a stream, in whole pairs of units."""
        pair = 2 * self.measure.unit
        size = max(BATCH - BATCH % pair, pair)
        for start in range(0, n_prompts, size):
            yield self.scope.prompts(min(size, n_prompts - start), stream, start)

    def tally(
        self, n_prompts: int, stream: str, subjects: Callable[[Prompts], Tensor], roster: Roster
    ) -> SimilaritySums:
        """Similarities of subjects (what they give on prompts) to the members of a roster."""
        measure, sums, done = self.measure, SimilaritySums(N_BLOCKS), 0
        for prompts in self.batches(n_prompts, stream):
            units = torch.arange(done, done + len(prompts) // measure.unit)
            rivals = (measure.directions(measure.predict(sweep, prompts), prompts) for sweep in roster.sweeps)
            blocks = units * N_BLOCKS // (n_prompts // measure.unit)
            sums.update(blocks, measure.directions(subjects(prompts), prompts), rivals)
            done += len(units)
        return sums


def stages(scope: Scope, n_fit: int) -> Predict:
    """What each stage of the residual stream predicts, then the output; of a bare predictor the output alone."""
    if not isinstance(scope.model, HookedRegressor):
        return lambda prompts: scope.predict(prompts)[None]
    predict = layer_predictor(scope.model, layer_readers(scope, n_fit))

    @torch.no_grad()
    def checked(prompts: Prompts) -> Float[Tensor, "n_layers batch n_read"]:
        preds = torch.cat([predict(part) for part in prompts.split(BATCH)], dim=1)
        return preds if preds[-1].isfinite().all() else scope.predict(prompts)[None]  # which says what is wrong

    return checked


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


def choose_rivals(task: Regression, wanted: Sequence[str | Sweep] | None = None) -> tuple[Sweep, ...]:
    """The sweeps to hold a model against.

    Args:
        task: What it is looked at with.
        wanted: Families by name, or sweeps; default every family that predicts all prompts at once, and those that
            the task is best solved by.

    Raises:
        MesascopeError: A family is unknown, or none is wanted.
    """
    known = rivals_of(task)
    if wanted is None:
        solving = {learner.family for learner in task.references()}
        return tuple(sweep for sweep in known if sweep.learner.batched or sweep.learner.family in solving)
    families = {sweep.learner.family.casefold(): sweep.learner.family for sweep in known}
    chosen: list[Sweep] = []
    for name in wanted:
        if isinstance(name, Sweep):
            chosen.append(name)
        elif (family := families.get(name.casefold())) is not None:
            chosen += [sweep for sweep in known if sweep.learner.family == family]
        else:
            raise MesascopeError(f"no rival is called {name!r}{nearest(name, families.values())}")
    if not chosen:
        raise MesascopeError("rivals=(): expected a family or a sweep, or None for every family")
    return tuple(dict.fromkeys(chosen))


def calibrate(
    task: Regression,
    planted: Sequence[Sweep],
    rivals: Sequence[Sweep],
    n_prompts: int = 1_000,
    seed: int = 0,
    empty_prefix: bool = False,
) -> Float[Tensor, "n_planted n_rivals"]:
    """Mean similarity of errors of some learners to others: what the score says where the answer is known.

    Gradient descent after no step is the zero predictor.

    Args:
        task: Where.
        planted: Learners in the place of the model.
        rivals: Learners to hold them against.
        n_prompts: Prompts; rounded down to whole pairs.
        seed: Seed of the prompts.
        empty_prefix: Count the first point too.

    Raises:
        MesascopeError: There are fewer than 40 prompts.
    """
    scope = Scope(PredictorModel(planted[0].learner), task, "learners", seed)
    points = range(task.n_points)
    bench = Bench(scope, ByErrors(points, points if empty_prefix else points[1:], unit=1), n_fit=0)
    as_model = partial(bench.given, Roster(planted))
    return bench.tally(_enough(n_prompts, unit=1), "similarity", as_model, Roster(rivals)).mean


def _enough(n_prompts: int, unit: int) -> int:
    """Whole pairs of units, two units a block at least."""
    rounded = n_prompts - n_prompts % (2 * unit)
    if rounded < 2 * N_BLOCKS * unit:
        raise MesascopeError(f"n_prompts={n_prompts}: expected at least {2 * N_BLOCKS * unit} to compare on")
    return rounded


def _measure(scope: Scope, n_prompts: int, n_fit: int, empty_prefix: bool, sweeps: tuple[Sweep, ...]) -> Similarity:
    task, read = scope.regression, scope.model.read_points(scope.task.n_points)
    points = [t for t in read if t > 0 or empty_prefix]
    if not any(points):
        raise MesascopeError(
            f"{scope.source} reads no point after the first of n_points={task.n_points}; use longer prompts"
        )
    unit = prompts_per_unit(len(points))
    bench = Bench(scope, ByErrors(read, points, unit), n_fit)
    errors = compare(bench, sweeps, _enough(n_prompts, unit), at_least(n_prompts // 2, unit))
    prefixes, weights = _prefixes(points, task.n_dims), None
    holding = [sweep for sweep in sweeps if holds_weights(sweep.learner)]
    if task.linear and task.n_dims > 1 and holding:
        asked = Bench(scope, ByWeights(prefixes, scope.seed), n_fit)
        weights = compare(asked, holding, at_least(n_prompts // 10, 1), at_least(n_prompts // 20, 1))
    convergence = _convergence(bench, points, errors)
    return Similarity(errors, weights, convergence, unit, tuple(prefixes), empty_prefix, scope.seed, task.linear)


def at_least(n_prompts: int, unit: int) -> int:
    """As many prompts, or as many as are needed."""
    return _enough(max(n_prompts, 2 * N_BLOCKS * unit), unit)


def _prefixes(points: Sequence[int], n_dims: int) -> list[int]:
    """Where weights are compared: too few points to know w, as many as dimensions, twice as many, and all."""
    wanted = (n_dims // 2, n_dims, 2 * n_dims, points[-1])
    return sorted({min(points, key=lambda point: abs(point - t)) for t in wanted} - {0})


def compare(bench: Bench, sweeps: Sequence[Sweep], n_prompts: int, n_tune: int) -> Comparison:
    """Choose every layer's matches on some prompts, and score them on others beside floors and ceiling."""
    roster = Roster(sweeps)
    tuned = bench.tally(n_tune, "similarity tune", bench.own, roster).mean
    chosen = [roster.best(row) for row in tuned]
    planted = sorted(chosen[-1].values())
    as_model = partial(bench.given, roster.only(planted))
    known = bench.tally(n_tune, "similarity tune", as_model, roster).mean
    chosen_by = dict(zip(planted, (roster.best(row) for row in known), strict=True))

    finalists = sorted({index for best in [*chosen, *chosen_by.values()] for index in best.values()})
    finals = Finals(bench, roster, finalists, planted, n_prompts)
    layers = tuple(finals.layer(layer, label, chosen[layer]) for layer, label in enumerate(bench.labels()))
    families = {match.family: chosen[-1][match.family] for match in layers[-1].matches}
    ceiling = tuple(
        tuple(finals.of_planted(index, chosen_by[index][family]) for family in families) for index in families.values()
    )
    return Comparison(
        by=bench.measure.by,
        layers=layers,
        courses=_courses(roster, tuned, layers),
        ceiling=ceiling,
        by_part={family: finals.by_part(index) for family, index in families.items()},
        n_prompts=n_prompts,
        n_tune=n_tune,
    )


class Finals:
    """The chosen members, scored: layers, their nulls and planted learners against them."""

    def __init__(self, bench: Bench, roster: Roster, finalists: list[int], planted: list[int], n_prompts: int):
        self.roster, self.planted = roster, planted
        self.columns = {index: column for column, index in enumerate(finalists)}
        as_model = partial(bench.given, roster.only(planted))

        def everyone(prompts: Prompts) -> Tensor:
            own = bench.own(prompts)
            return torch.cat([own, bench.measure.swapped(own), torch.zeros_like(own[:1]), as_model(prompts)])

        self.sums = bench.tally(n_prompts, "similarity", everyone, roster.only(finalists))
        self.mean = self.sums.mean
        self.n_layers = (len(self.mean) - 1 - len(planted)) // 2
        self.twins: Float[Tensor, "n_twins n_layers n_finalists"] | None = None
        if bench.scope.untrained:
            few = at_least(n_prompts // 4, bench.measure.unit)
            self.twins = bench.tally(few, "similarity", bench.twins, roster.only(finalists)).mean.unflatten(
                0, (-1, self.n_layers)
            )

    def layer(self, layer: int, label: str, chosen: dict[str, int]) -> LayerSimilarity:
        """A layer's matches, the most similar first."""
        matches = (self._match(layer, index) for index in chosen.values())
        return LayerSimilarity(label, tuple(sorted(matches, key=lambda match: -match.similarity.value)))

    def _match(self, layer: int, index: int) -> Match:
        at, n, learner = self.columns[index], self.n_layers, self.roster.members[index]
        zero, shuffled = 2 * n, n + layer
        higher = max(zero, shuffled, key=lambda row: self.mean[row, at].item())
        return Match(
            family=learner.family,
            learner=learner,
            similarity=self.sums.estimate(layer, at),
            zero=self.mean[zero, at].item(),
            shuffled=self.mean[shuffled, at].item(),
            lead=self.sums.estimate(layer, at, beyond=higher),
            untrained=None if self.twins is None else prediction_interval(self.twins[:, layer, at]),
        )

    def of_planted(self, planted: int, index: int) -> float:
        """Similarity of a planted member to another."""
        row = len(self.mean) - len(self.planted) + self.planted.index(planted)
        return self.mean[row, self.columns[index]].item()

    def by_part(self, index: int) -> tuple[float, ...]:
        """Similarity of the output to a member, part by part."""
        return tuple(self.sums.by_part[:, self.n_layers - 1, self.columns[index]].tolist())


def _courses(
    roster: Roster, tuned: Float[Tensor, "n_layers n_members"], layers: Sequence[LayerSimilarity]
) -> tuple[Course, ...]:
    """Of every family that makes steps, the sweep whose best matches are the most similar; the output's first."""
    best: dict[str, tuple[float, Course]] = {}
    counted = tuple(index for index, layer in enumerate(layers) if layer.best.verdict == "above its floor")
    for index, sweep in enumerate(roster.sweeps):
        if len(sweep.steps) > 1:
            rows = tuned[:, roster.rows(index)]
            course = Course(sweep, tuple(layer.label for layer in layers), tuple(map(tuple, rows.tolist())), counted)
            height = rows.amax(1).sum().item()
            if height > best.get(course.family, (-math.inf,))[0]:
                best[course.family] = height, course
    return tuple(sorted((course for _, course in best.values()), key=lambda course: -max(course.similarities[-1])))


def _convergence(bench: Bench, points: Sequence[int], errors: Comparison) -> Convergence:
    """Squared errors of the layers and of the courses' iterates, by point."""
    totals: dict[str, Tensor] = {}
    for prompts in bench.batches(errors.n_tune, "similarity tune"):
        ys = prompts.ys[:, points].double()
        found = {"layers": bench.own(prompts), "null": torch.zeros_like(ys)[None]}
        found |= {
            f"iterates {course.family}": bench.measure.predict(course.sweep, prompts) for course in errors.courses
        }
        for name, preds in found.items():
            totals[name] = totals.get(name, torch.zeros(())) + (preds - ys).square().sum(1) / errors.n_tune
    by_point = {name: tuple(map(tuple, total.tolist())) for name, total in totals.items()}
    return Convergence(
        points=tuple(points),
        late=tuple(i for i, t in enumerate(points) if t >= bench.scope.task.late) or (len(points) - 1,),
        null=by_point["null"][0],
        layers=dict(zip(bench.labels(), by_point["layers"], strict=True)),
        iterates={course.family: by_point[f"iterates {course.family}"] for course in errors.courses},
    )
