"""Which of the listed learners does each layer err like, and does that say anything?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from transformer_lens.utilities.statistics import bootstrap_ci

from mesascope.analyses.claim import Claim, Figure, Result, fixed
from mesascope.analyses.fitting import n_twin_prompts
from mesascope.analyses.plots import heatmap, lines, with_band
from mesascope.analyses.scope import Scope
from mesascope.analyses.trial import N_BLOCKS, Trial, confusion
from mesascope.models import FilterLearner, MesascopeError, Newton
from mesascope.models.streams import generator
from mesascope.probes import Estimate, prediction_interval

MIN_SKILL = 0.1
"""cos(ŷ, y) below which a layer predicts too little to be compared: every learner's first small step looks like it."""
MAX_UNEXPLAINED = 0.01
"""Unexplained share above which a layer is only *like* its best match; .01 is a cosine of .995 at equal size."""
MIN_SIMILARITY = 0.9
"""Similarity below which a layer is none of the listed."""
WIN = 0.95
"""Share of bootstraps in which a family must lead to exclude another."""
N_BOOTSTRAPS = 2000
MIN_POINTS, MIN_UNIT = 5, 20
"""A model that reads fewer points than the first gets units of several prompts with at least the second's errors."""


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
    """The highest of the untrained twins', at the same place."""
    unexplained: Estimate
    """|ŷ − ŷ_learner|² relative to the learner's error or prediction; unlike the similarity it sees their size."""
    likeness: float
    """Similarity of this learner to the layer's best match, which the layer's own score must exceed."""
    beaten: float
    """Share of bootstraps over prompts in which the best match is more similar."""


@dataclass(frozen=True)
class LayerMatch:
    """One layer against all families, the most similar first."""

    label: str
    skill: Estimate
    """Mean over prompts of cos(ŷ, y)."""
    untrained_skill: Estimate | None
    """The untrained twins' mean, and the interval in which one more would fall."""
    matches: tuple[Match, ...]
    ceiling: tuple[tuple[float, ...], ...]
    """Row i: match i's learner as if it were the model, against each family (in the order of `matches`); for the
    output alone, and only if no gate failed."""
    alive: tuple[str, ...]
    """Families that the score does not exclude; empty if a gate failed."""
    gate: str
    """The verdict if a gate failed, otherwise empty."""
    reason: str
    """Why the verdict is not a name, to follow "but"; empty if it is."""

    @property
    def best(self) -> Match:
        """The most similar family's match."""
        return self.matches[0]

    @property
    def verdict(self) -> str:
        """A family, "undetermined: A or B", "like A, but not it", "none of the listed", or "no algorithm"."""
        if self.gate:
            return self.gate
        if len(self.alive) == 1:
            return self.alive[0] if not self.reason else f"like {self.alive[0]}, but not it"
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
    linear_task: bool = True
    """Whether y is linear in x, as the learners take it to be."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """A task for which the learners are the wrong ones."""
        if self.linear_task:
            return ()
        return (
            "The task is not linear in x: learners on features of x, such as a deep model's, are not among the rivals.",
        )

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
        rest = ", ".join(f"{match.family} {match.similarity.value:.4f}" for match in layer.matches[1:])
        text += f" ({rest})" if rest else ""
        return Claim(
            id=f"identification.{layer.label.replace(' ', '_')}",
            text=text + (f", but {layer.reason}." if layer.reason else "."),
            value=best.similarity.value,
            ci=best.similarity.ci,
            null=max(floors),
            verdict=layer.verdict,
        )

    def figures(self) -> tuple[Figure, ...]:
        """Scores with floors, the ceiling of the output, matching steps, and the heat map over Newton steps."""
        return (self._scores(), *self._ceiling(), *self._steps())

    def _scores(self) -> Figure:
        labels = [layer.label for layer in self.layers]
        families = [match.family for match in self.layers[-1].matches]
        series: dict[str, Sequence[Estimate]] = {
            family: [next(m for m in layer.matches if m.family == family).similarity for layer in self.layers]
            for family in families
        }
        points = {"zero predictor": [layer.best.zero for layer in self.layers]}
        if self.layers[-1].best.untrained is not None:
            points["untrained twins"] = [layer.best.untrained or 0.0 for layer in self.layers]
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

    def _ceiling(self) -> tuple[Figure, ...]:
        output = self.layers[-1]
        if not output.ceiling:
            return ()
        families = [match.family for match in output.matches]
        rows = [[match.similarity.value for match in output.matches], *reversed(output.ceiling)]
        names = ["the output", *(f"exact {match.learner.label}" for match in reversed(output.matches))]
        figure = Figure(
            "identification-ceiling",
            "Ceiling: the learners themselves, through the same pipeline",
            "Each upper row takes an exact learner, the family's best match of the output, as if it were the model. "
            "Off the diagonal stands how well the best of the wrong family imitates it. The lowest row is the model: "
            "where it is no closer to a family than the others are to each other, the score cannot name it.",
            heatmap(families, names, rows, "matched with the best of", "similarity", low=0.5, text=True),
        )
        return (figure,)

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
                    "gate": layer.gate,
                    "reason": layer.reason,
                    "matches": [
                        {
                            "family": match.family,
                            "learner": match.learner.label,
                            "similarity": {"value": match.similarity.value, "ci": list(match.similarity.ci)},
                            "zero": match.zero,
                            "untrained": match.untrained,
                            "unexplained": {"value": match.unexplained.value, "ci": list(match.unexplained.ci)},
                            "likeness": match.likeness,
                            "beaten": match.beaten,
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
    n_tune: int = 1_000,
    n_fit: int = 20_000,
    empty_prefix: bool = False,
) -> Identification:
    """Similarity of errors of every layer against GD, Newton, ridge and least squares.

    A family's scalars (steps, step size, penalty) are chosen for each layer on prompts that are not scored. A name is
    given only if the layer predicts something its untrained twins do not, errs more like the family than the zero
    predictor and the twins do, every other family is excluded, and the family explains the predictions themselves (see
    `judge`). On a trained model the score rarely excludes the others, because learners are so alike each other: that
    is then the finding. The thresholds were set on a few planted learners and outsiders, not calibrated.

    Args:
        scope: Where to look; a bare predictor is judged by its output alone.
        seed: Seed of prompts and resamples; default the scope's.
        n_prompts: Prompts to score on.
        n_tune: Prompts to choose scalars on.
        n_fit: Prompts to fit the layers' readouts on.
        empty_prefix: Count the first point too, where every learner predicts zero (Fu's figures do, its text does
            not).

    Raises:
        MesascopeError: The task is discrete, the model reads no point after the first, or there are too few prompts.
    """
    scope = scope.reseeded(seed)
    key = ("identification", n_prompts, n_tune, n_fit, empty_prefix)
    return scope.once(key, lambda: _identify(scope, n_prompts, n_tune, n_fit, empty_prefix))


def _identify(scope: Scope, n_prompts: int, n_tune: int, n_fit: int, empty_prefix: bool) -> Identification:
    _ = scope.regression  # refuses other tasks
    points = [t for t in scope.model.read_points(scope.task.n_points) if t > 0 or empty_prefix]
    if not any(points):
        raise MesascopeError(
            f"{scope.source} reads no point after the first of n_points={scope.task.n_points}; use longer prompts"
        )
    unit = 1 if len(points) >= MIN_POINTS else -(-MIN_UNIT // len(points))
    n_prompts, n_tune = n_prompts - n_prompts % unit, n_tune - n_tune % unit
    if min(n_prompts, n_tune) < 2 * N_BLOCKS * unit:
        raise MesascopeError(
            f"n_prompts={n_prompts}, n_tune={n_tune}: this model needs at least {2 * N_BLOCKS * unit} of each"
        )
    tune = Trial(scope, n_tune, "tune", n_fit, points, unit)
    score = Trial(scope, n_prompts, "identify", n_fit, points, unit)
    n_twin = max(2 * N_BLOCKS * unit, n_prompts // 2 - n_prompts // 2 % unit)
    twins = [Trial(twin, n_twin, "identify", n_twin_prompts(n_fit), points, unit) for twin in scope.untrained]
    layers = tuple(
        _match(index, tune, score, twins, generator(scope.seed, "bootstrap", index))
        for index in range(len(score.labels))
    )
    heat = []
    for preds in tune.preds:
        similarities = tune.grid_similarities(preds)
        heat.append(tuple(value for learner, value in similarities.items() if learner.family == Newton.family))
    return Identification(
        layers, tuple(heat), n_prompts, n_tune, unit, empty_prefix, scope.seed, scope.regression.linear
    )


def _match(index: int, tune: Trial, score: Trial, twins: list[Trial], rng: torch.Generator) -> LayerMatch:
    learners = list(tune.choose(tune.preds[index]).values())
    scores = torch.stack([score.similarity(score.preds[index], learner) for learner in learners])  # [family, unit]
    order = scores.mean(-1).argsort(descending=True).tolist()
    learners, scores = [learners[i] for i in order], scores[order]
    low, high = bootstrap_ci(scores, generator=rng)
    picks = torch.randint(scores.shape[1], (N_BOOTSTRAPS, scores.shape[1]), generator=rng).to(scores.device)
    resampled = torch.stack([row[picks].mean(-1) for row in scores])  # [family, bootstrap]
    matches = tuple(
        Match(
            family=learner.family,
            learner=learner,
            similarity=Estimate(scores[i].mean().item(), low[i].item(), high[i].item()),
            zero=score.similarity(torch.zeros_like(score.ys), learner).mean().item(),
            untrained=max((twin.similarity(twin.preds[index], learner).mean().item() for twin in twins), default=None),
            unexplained=score.unexplained(score.preds[index], learner),
            likeness=score.similarity(score.predictions(learners[0]), learner).mean().item(),
            beaten=(resampled[0] > resampled[i]).double().mean().item(),
        )
        for i, learner in enumerate(learners)
    )
    skill = score.skill(index)
    twin_skills = torch.tensor([twin.skill(index).value for twin in twins])
    untrained_skill = prediction_interval(twin_skills) if twins else None
    gate, alive, reason = judge(matches, skill, untrained_skill)
    # Drawn for the output alone, and dear: every planted learner is matched anew.
    ceiling = () if gate or index < len(score.labels) - 1 else confusion(learners, tune, score)
    return LayerMatch(score.labels[index], skill, untrained_skill, matches, ceiling, alive, gate, reason)


def judge(
    matches: Sequence[Match], skill: Estimate, untrained_skill: Estimate | None
) -> tuple[str, tuple[str, ...], str]:
    """The gate that failed (or ""), the families that a layer's scores do not exclude, and why there is not just one.

    A family other than the best is excluded if it is beaten in 95% of bootstraps *and* its match is less like the
    best match than the layer is: what the layer leaves unexplained must be smaller than the difference it is to decide.
    The one that is left is a name only if it also predicts what the layer does, in size as well as direction: the
    nearest of the listed need not be the learner.
    """
    best = matches[0]
    if skill.low <= MIN_SKILL:
        return "no algorithm", (), f"it predicts too little to be compared (cos(ŷ, y) = {fixed(skill.value)})"
    if untrained_skill is not None and skill.low <= untrained_skill.high:
        return "no algorithm", (), f"an untrained twin may predict as much (cos(ŷ, y) ≤ {fixed(untrained_skill.high)})"
    if best.similarity.low <= max(best.zero, best.untrained or 0.0):
        return "no algorithm", (), "that is no more than its floor"
    if best.similarity.high < MIN_SIMILARITY:
        return "none of the listed", (), f"below {MIN_SIMILARITY:g} that is none of the listed"
    rest = [match.family for match in matches[1:] if match.beaten < WIN or match.likeness >= best.similarity.low]
    if rest:
        return "", (best.family, *rest), f"that does not tell it from {' or '.join(rest)}"
    if not best.unexplained.high <= MAX_UNEXPLAINED:  # so that NaN, a learner that overflows, explains nothing
        return "", (best.family,), f"leaves {best.unexplained.value:.2g} of it unexplained"
    return "", (best.family,), ""
