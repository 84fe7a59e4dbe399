"""Which of the listed learners does each layer err like, and does that say anything?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens.utilities.statistics import bootstrap_ci

from mesascope.analyses.claim import Claim, Figure, Result
from mesascope.analyses.layers import predict_layers
from mesascope.analyses.plots import heatmap, lines, with_band
from mesascope.analyses.scope import Scope
from mesascope.models import FilterLearner, MesascopeError
from mesascope.models.learners.battery import battery, rivals
from mesascope.models.streams import generator
from mesascope.probes import Estimate, block_sums, jackknife_ratio, similarity_of_errors

MIN_SKILL = 0.05
"""R² below which a layer predicts too little to be compared: every learner's first small step looks like it."""
MIN_SIMILARITY = 0.9
"""Similarity below which a layer is none of the listed."""
WIN = 0.95
"""Share of bootstraps in which a family must lead to exclude another."""
N_BLOCKS = 20
N_BOOTSTRAPS = 2000
MIN_UNIT = 20
"""Errors in one unit of similarity where a model reads too few points for a cosine over one prompt's."""


@dataclass(frozen=True)
class Match:
    """The member of one family that a layer errs most like."""

    family: str
    learner: FilterLearner
    similarity: Estimate
    """On prompts other than those it was chosen on."""
    zero: float
    """The zero predictor's similarity to the same learner: the floor."""
    untrained: float | None
    """The untrained twin's, at the same place."""
    leads: float
    """Share of bootstraps in which this family is more similar than every other."""


@dataclass(frozen=True)
class LayerMatch:
    """One layer against all families, the most similar first."""

    label: str
    skill: Estimate
    """R² of the layer's prediction."""
    untrained_skill: Estimate | None
    matches: tuple[Match, ...]
    ceiling: tuple[tuple[float, ...], ...]
    """Row i: match i's learner as if it were the model, against each family (in the order of `matches`)."""
    alive: tuple[str, ...]
    """Families that the score does not exclude; empty if a gate failed."""
    reason: str
    """Why the verdict is not a name."""

    @property
    def best(self) -> Match:
        """The most similar family's match."""
        return self.matches[0]

    @property
    def verdict(self) -> str:
        """A family, "undetermined: A or B", "none of the listed", or "no algorithm"."""
        if not self.alive:
            return self.reason
        if len(self.alive) == 1:
            return self.alive[0]
        return f"undetermined: {', '.join(self.alive[:-1])} or {self.alive[-1]}"


@dataclass(frozen=True)
class Identification(Result):
    """Similarity of errors of every layer against every family, with floor and ceiling."""

    name: ClassVar[str] = "identification"
    title: ClassVar[str] = "Which learner?"
    question: ClassVar[str] = "Which learning algorithm does each layer's prediction err like?"

    layers: tuple[LayerMatch, ...]
    newton_heat: tuple[tuple[float, ...], ...]
    """Similarity of each layer to Newton after 1, 2, … steps, on the tuning prompts."""
    n_prompts: int
    n_tune: int
    unit: int
    """Prompts in one unit of similarity."""
    empty_prefix: bool
    seed: int

    @property
    def verdict(self) -> str:
        """The output's verdict, which is the model's."""
        return self.layers[-1].verdict

    @property
    def claims(self) -> tuple[Claim, ...]:
        """One claim a layer, the output first."""
        return tuple(self._claim(layer) for layer in reversed(self.layers))

    def _claim(self, layer: LayerMatch) -> Claim:
        best = layer.best
        floors = [floor for floor in (best.zero, best.untrained) if floor is not None]
        where = "The output" if layer.label == "output" else f"The reading of {layer.label}"
        text = f"{where} errs most like {best.learner.label}, with similarity {best.similarity.value:.4f}"
        if len(layer.matches) > 1:
            rest = ", ".join(f"{match.family} {match.similarity.value:.4f}" for match in layer.matches[1:])
            text += f" ({rest})"
        return Claim(
            id=f"identification.{layer.label.replace(' ', '_')}",
            text=text + (f"; {layer.reason}." if len(layer.alive) > 1 else "."),
            value=best.similarity.value,
            ci=best.similarity.ci,
            null=max(floors),
            verdict=layer.verdict,
        )

    def figures(self) -> tuple[Figure, ...]:
        """Scores with floors, the ceiling of the output, matching steps, and the heat map over Newton steps."""
        return (self._scores(), self._ceiling(), *self._steps())

    def _scores(self) -> Figure:
        labels = [layer.label for layer in self.layers]
        families = [match.family for match in self.layers[-1].matches]
        series: dict[str, Sequence[Estimate]] = {
            family: [next(m for m in layer.matches if m.family == family).similarity for layer in self.layers]
            for family in families
        }
        points = {"zero predictor": [layer.best.zero for layer in self.layers]}
        if self.layers[-1].best.untrained is not None:
            points["untrained twin"] = [layer.best.untrained or 0.0 for layer in self.layers]
        floors = {name: [Estimate(v, v, v) for v in values] for name, values in points.items()}
        convention = "with" if self.empty_prefix else "without"
        return Figure(
            "identification-scores",
            "Similarity of errors, layer by layer",
            "How alike a layer's errors are to those of each family's best-matching member: the cosine over points, "
            f"{convention} the empty prefix, averaged over {self.n_prompts:,} prompts. Scalars were chosen on "
            f"{self.n_tune:,} others. The two floors are what predicting zero and the untrained twin reach against the "
            "same best learner. Read the height above the floors, and beside the ceiling below: learners are alike "
            "each other too. Source: Fu et al. (2024), definition 2.",
            with_band(labels, {**series, **floors}, "similarity of errors"),
        )

    def _ceiling(self) -> Figure:
        output = self.layers[-1]
        families = [match.family for match in output.matches]
        rows = [[match.similarity.value for match in output.matches], *reversed(output.ceiling)]
        names = ["the output", *(f"exact {match.learner.label}" for match in reversed(output.matches))]
        return Figure(
            "identification-ceiling",
            "Ceiling: the learners themselves, through the same pipeline",
            "Each upper row takes an exact learner, the family's best match of the output, as if it were the model. "
            "Off the diagonal stands how well the wrong family imitates it. The lowest row is the model. A name is "
            "given only where the model scores higher with a family than every exact other learner does.",
            heatmap(families, names, rows, "matched with the best of", "similarity", low=0.5, text=True),
        )

    def _steps(self) -> tuple[Figure, ...]:
        if len(self.layers) == 1:
            return ()
        shown = [layer for layer in self.layers if layer.skill.low > MIN_SKILL and layer.label != "output"]
        series: dict[str, list[float]] = {"Newton steps": [], "log2 of GD steps": []}
        for layer in shown:
            by_family = {match.family: match.learner.n_steps for match in layer.matches}
            series["Newton steps"].append(float(by_family["Newton"]))
            series["log2 of GD steps"].append(float(torch.tensor(by_family["GD"]).log2()))
        steps = lines([], {}, "", "best matching steps")
        for trace in lines(list(range(len(shown))), series, "", "").data:
            steps.add_trace(trace)
        steps.update_xaxes(tickvals=list(range(len(shown))), ticktext=[layer.label for layer in shown])
        heat = heatmap(
            list(range(1, len(self.newton_heat[0]) + 1)),
            [layer.label for layer in self.layers],
            self.newton_heat,
            "Newton steps",
            "similarity",
        )
        return (
            Figure(
                "identification-steps",
                "Best matching steps by layer",
                "Steps of the best-matching Newton and GD members, for layers that predict something. Newton's k grows "
                "by one where GD's doubles, so a straight line in both is one statement, not two: it cannot tell the "
                "two apart. GD's step size is chosen with its steps, so only their product means anything.",
                steps,
            ),
            Figure(
                "identification-newton",
                "Similarity to Newton by layer and steps",
                "Mean similarity of errors on the tuning prompts. A bright ridge that moves right as one moves up "
                "says that deeper layers err like later iterates of Newton, or of anything that converges as fast.",
                heat,
            ),
        )

    def data(self) -> dict[str, Any]:
        """Every layer's matches, floors and ceiling."""
        return {
            "n_prompts": self.n_prompts,
            "n_tune": self.n_tune,
            "unit": self.unit,
            "empty_prefix": self.empty_prefix,
            "seed": self.seed,
            "verdict": self.verdict,
            "newton_heat": [list(row) for row in self.newton_heat],
            "layers": [
                {
                    "label": layer.label,
                    "skill": {"value": layer.skill.value, "ci": list(layer.skill.ci)},
                    "verdict": layer.verdict,
                    "alive": list(layer.alive),
                    "reason": layer.reason,
                    "matches": [
                        {
                            "family": match.family,
                            "learner": match.learner.label,
                            "similarity": {"value": match.similarity.value, "ci": list(match.similarity.ci)},
                            "zero": match.zero,
                            "untrained": match.untrained,
                            "leads": match.leads,
                        }
                        for match in layer.matches
                    ],
                    "ceiling": [list(row) for row in layer.ceiling],
                }
                for layer in self.layers
            ],
        }


def identify(
    scope: Scope,
    seed: int | None = None,
    n_prompts: int = 2_000,
    n_tune: int = 500,
    n_fit: int = 20_000,
    empty_prefix: bool = False,
) -> Identification:
    """Similarity of errors of every layer against GD, Newton, ridge and least squares.

    A family's scalars (steps, step size, penalty) are chosen for each layer on prompts that are not scored. A name is
    given only if the layer predicts something its untrained twin does not, errs more like the family than the zero
    predictor and the twin do, leads in 95% of bootstraps over prompts, and scores higher than every *exact* other
    learner would with that family. This score alone rarely meets the last: that is its finding.

    Args:
        scope: Where to look; a bare predictor is judged by its output alone.
        seed: Seed of prompts and resamples; default the scope's.
        n_prompts: Prompts to score on.
        n_tune: Prompts to choose scalars on.
        n_fit: Prompts to fit the layers' readouts on.
        empty_prefix: Count the first point too, where every learner predicts zero (Fu's figures do, its text does
            not).

    Raises:
        MesascopeError: The model reads no point after the first, or there are too few prompts.
    """
    scope = scope.reseeded(seed)
    key = ("identification", n_prompts, n_tune, n_fit, empty_prefix)
    return scope.once(key, lambda: _identify(scope, n_prompts, n_tune, n_fit, empty_prefix))


def _identify(scope: Scope, n_prompts: int, n_tune: int, n_fit: int, empty_prefix: bool) -> Identification:
    points = [t for t in scope.model.read_points(scope.task.n_points) if t > 0 or empty_prefix]
    if not any(points):
        raise MesascopeError(
            f"{scope.source} reads no point after the first of n_points={scope.task.n_points}; use longer prompts"
        )
    unit = 1 if len(points) >= 5 else -(-MIN_UNIT // len(points))
    if min(n_prompts, n_tune) < 2 * N_BLOCKS * unit:
        raise MesascopeError(
            f"n_prompts={n_prompts}, n_tune={n_tune}: this model needs at least {2 * N_BLOCKS * unit} of each"
        )
    tune = _Comparison(scope, n_tune - n_tune % unit, "tune", n_fit, points, unit)
    score = _Comparison(scope, n_prompts - n_prompts % unit, "identify", n_fit, points, unit)
    twin = None
    if scope.untrained is not None:
        twin = _Comparison(scope.untrained, n_prompts - n_prompts % unit, "identify", n_fit, points, unit)
    tuned = tune.similarities(tune.preds)
    layers = tuple(
        _match(index, tuned[index], tune, score, twin, generator(scope.seed, "bootstrap", index))
        for index in range(len(score.labels))
    )
    newton = [i for i, learner in enumerate(tune.learners) if learner.family == "Newton"]
    heat = tuple(tuple(row) for row in tuned[:, newton].tolist())
    return Identification(layers, heat, score.n_prompts, tune.n_prompts, unit, empty_prefix, scope.seed)


class _Comparison:
    """Layers and learners on the same prompts, cut to the points that count and grouped into units."""

    def __init__(self, scope: Scope, n_prompts: int, stream: str, n_fit: int, points: list[int], unit: int):
        layers = predict_layers(scope, n_prompts, stream, n_fit)
        self.n_prompts, self.labels = n_prompts, layers.labels
        self.learners, predictions = battery(layers.prompts, rivals(scope.task))
        read = scope.model.read_points(scope.task.n_points)
        kept = [read.index(point) for point in points]

        def as_units(values: Tensor) -> Tensor:
            return values.double().unflatten(-2, (-1, unit)).flatten(-2)

        self.ys = as_units(layers.prompts.ys[:, points])
        self.preds = as_units(layers.preds[..., kept])
        self.rivals = as_units(predictions[..., points])

    def similarities(self, preds: Float[Tensor, "n_labels units errors"]) -> Float[Tensor, "n_labels n_learners"]:
        """Mean similarity of each row of predictions to every learner."""
        return torch.stack([similarity_of_errors(row, self.rivals, self.ys).mean(-1) for row in preds])

    def skill(self, index: int) -> Estimate:
        """R² of a layer's predictions."""
        errors = block_sums((self.preds[index] - self.ys).square().sum(-1), N_BLOCKS)
        return jackknife_ratio(-errors, block_sums(self.ys.square().sum(-1), N_BLOCKS), offset=1.0)

    def best_of_families(self, similarities: Float[Tensor, " n_learners"]) -> dict[str, int]:
        """The most similar member of each family."""
        best: dict[str, int] = {}
        for index in similarities.argsort(descending=True).tolist():
            best.setdefault(self.learners[index].family, index)
        return best


def _match(
    index: int,
    tuned: Float[Tensor, " n_learners"],
    tune: _Comparison,
    score: _Comparison,
    twin: _Comparison | None,
    rng: torch.Generator,
) -> LayerMatch:
    chosen = tune.best_of_families(tuned)
    picks = list(chosen.values())
    scores = similarity_of_errors(score.preds[index], score.rivals[picks], score.ys)  # [family, unit]
    zero = similarity_of_errors(torch.zeros_like(score.ys), score.rivals[picks], score.ys).mean(-1).tolist()
    untrained = None if twin is None else similarity_of_errors(twin.preds[index], score.rivals[picks], score.ys)
    draws = torch.randint(scores.shape[1], (N_BOOTSTRAPS, scores.shape[1]), generator=rng).to(scores.device)
    resampled = torch.stack([row[draws].mean(-1) for row in scores])  # [family, bootstrap]
    low, high = bootstrap_ci(scores, generator=rng)
    order = scores.mean(-1).argsort(descending=True).tolist()

    def match(i: int) -> Match:
        others = [j for j in range(len(picks)) if j != i]
        return Match(
            family=score.learners[picks[i]].family,
            learner=score.learners[picks[i]],
            similarity=Estimate(scores[i].mean().item(), low[i].item(), high[i].item()),
            zero=zero[i],
            untrained=None if untrained is None else untrained[i].mean().item(),
            leads=(resampled[i] > resampled[others].amax(0)).double().mean().item(),
        )

    matches = tuple(match(i) for i in order)
    ceiling = _ceiling([picks[i] for i in order], tune, score)
    beaten = {
        score.learners[picks[i]].family: (resampled[order[0]] > resampled[i]).double().mean().item() for i in order
    }
    skill, untrained_skill = score.skill(index), None if twin is None else twin.skill(index)
    alive, reason = _verdict(matches, ceiling, beaten, skill, untrained_skill)
    return LayerMatch(score.labels[index], skill, untrained_skill, matches, ceiling, alive, reason)


def _ceiling(picks: list[int], tune: _Comparison, score: _Comparison) -> tuple[tuple[float, ...], ...]:
    """The confusion matrix: each pick, planted as if it were the model, matched and scored like one."""
    families = [score.learners[pick].family for pick in picks]
    rows = []
    for pick, similarities in zip(picks, tune.similarities(tune.rivals[picks]), strict=True):
        best = tune.best_of_families(similarities)
        members = score.rivals[[best[family] for family in families]]
        rows.append(tuple(similarity_of_errors(score.rivals[pick], members, score.ys).mean(-1).tolist()))
    return tuple(rows)


def _verdict(
    matches: tuple[Match, ...],
    ceiling: tuple[tuple[float, ...], ...],
    beaten: dict[str, float],
    skill: Estimate,
    untrained_skill: Estimate | None,
) -> tuple[tuple[str, ...], str]:
    """The families that are not excluded, and why there is not exactly one."""
    best = matches[0]
    if skill.low <= max(MIN_SKILL, 0.0 if untrained_skill is None else untrained_skill.high):
        return (), "no algorithm (predicts too little)"
    if best.similarity.low <= max(best.zero, best.untrained or 0.0):
        return (), "no algorithm (no closer than its floor)"
    if best.similarity.high < MIN_SIMILARITY:
        return (), "none of the listed"
    alive = [best.family]
    for row, match in enumerate(matches[1:], start=1):
        imitated = ceiling[row][0]  # what an exact `match` would score with the best family
        if beaten[match.family] < WIN or imitated >= best.similarity.low:
            alive.append(match.family)
    return tuple(alive), "" if len(alive) == 1 else "exact learners of other families would score as high with it"
