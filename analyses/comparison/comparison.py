"""Two or more checkpoints side by side: every claim of theirs that has the same name, subtracted."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

from mesascope.analyses.claim import Claim, Figure, Result, as_json
from mesascope.analyses.comparison.difference import (
    DIFFERS,
    NONE,
    OPEN,
    SAME,
    Difference,
    adjusted,
    difference_of,
    why_not,
)
from mesascope.analyses.comparison.paired import Paired, common_points, measure_pairs
from mesascope.analyses.comparison.side import Side, identity, measure_side
from mesascope.analyses.descriptions import device_of
from mesascope.analyses.identification import Identification
from mesascope.analyses.layers import layer_label
from mesascope.analyses.performance import TOLERANCE, Performance
from mesascope.analyses.readouts import Readouts
from mesascope.analyses.scope import Predictor, PredictorModel, Scope, attach
from mesascope.analyses.selection import choose_analyses
from mesascope.models import HookedRegressor, MesascopeError
from mesascope.models.tasks import Task
from mesascope.probes import Estimate

DEFAULT = (Performance.name, Readouts.name, Identification.name)
"""What is compared unless other analyses are asked for: the cheap ones."""

BY_VERDICT = (Identification.name,)
"""Analyses whose number is another under another verdict (a skill, a share explained, a share of a mixture): it is
subtracted where the verdicts are the same."""


@dataclass(frozen=True)
class Comparison(Result):
    """Checkpoints beside the first of them."""

    name: ClassVar[str] = "comparison"
    title: ClassVar[str] = "Side by side"
    question: ClassVar[str] = "Do these checkpoints differ, in what and by how much?"

    sides: tuple[Side, ...]
    """The checkpoints with their claims; the first is the reference."""
    identical: tuple[bool, ...]
    """Whether a checkpoint is the reference's model: the same weights and architecture, or the same predictor."""
    differences: tuple[Difference, ...]
    """Of every number that a checkpoint shares with the reference."""
    paired: Paired
    points: tuple[int, ...]
    """The points at which losses and predictions were compared."""
    n_prompts: int
    n_fit: int
    """Prompts that readouts were fitted on."""
    device: str
    seed: int

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """Their names; the first is the reference."""
        return tuple(side.name for side in self.sides)

    @property
    def found(self) -> tuple[Mapping[str, Claim], ...]:
        """Every claim of each checkpoint, by id."""
        return tuple(side.claims for side in self.sides)

    @property
    def left_out(self) -> dict[str, str]:
        """What each analysis that does not apply to a checkpoint would need."""
        return {f"{name} of {side.name}": needs for side in self.sides for name, needs in side.left_out.items()}

    @property
    def failed(self) -> dict[str, str]:
        """Why predictions could not be compared, and each analysis that applies to a checkpoint could not run."""
        analyses = {f"{name} of {side.name}": error for side in self.sides for name, error in side.failed.items()}
        return {f"predictions of {self.checkpoints[i]}": why for i, why in self.paired.failed.items()} | analyses

    @property
    def mistake(self) -> Exception | None:
        """The first error that is ours to mend: `write_comparison` raises it when all else is written."""
        return next((side.mistake for side in self.sides if side.mistake is not None), None)

    @property
    def not_shared(self) -> dict[str, str]:
        """Which numbers were not subtracted and why, where an analysis ran on both."""
        return {
            f"{name} of {side.name}": "; ".join(f"{_listed(labels)} ({why})" for why, labels in reasons.items())
            for side in self.sides[1:]
            for name, reasons in _not_shared(side, self.sides[0]).items()
        }

    @property
    def claims(self) -> tuple[Claim, ...]:
        """Each checkpoint against the reference, then each number, those that differ first."""
        order = [DIFFERS, OPEN, NONE, SAME]
        numbers = sorted(self.differences, key=lambda difference: order.index(difference.verdict))
        return (*self.headlines, *(difference.claim() for difference in numbers))

    @property
    def headlines(self) -> tuple[Claim, ...]:
        """Each checkpoint against the reference."""
        return tuple(self._whole(index) for index in range(1, len(self.checkpoints)))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What an interval does not know, then what the analyses say of each checkpoint."""
        return (
            "Intervals are over prompts for these weights. What another seed of training would give they do not say: "
            "train several and compare those.",
            *(f"{side.name}: {warning}" for side in self.sides for warning in side.warnings),
        )

    def _whole(self, index: int) -> Claim:
        mine, reference = self.checkpoints[index], self.checkpoints[0]
        own = [difference for difference in self.differences if difference.checkpoint == mine]
        n_differ, distance = sum(d.verdict == DIFFERS for d in own), self.paired.distance(index)
        id_ = f"comparison.{mine}"
        if self.identical[index]:
            is_bare = self.sides[index].about["model"]["kind"] == PredictorModel.__name__
            text = f"{mine} and {reference} {'are one predictor' if is_bare else 'have the same weights'}."
            return Claim(id_, text, 0.0, (0.0, 0.0), 0.0, SAME)
        text = f"{mine} against {reference}: "
        known = self.paired.both_predict(index)
        if not known:
            text += "predictions could not be compared, and "
        if distance is not None:
            text += f"predictions are {distance.value:.3g} of the loss of predicting zero apart, and "
        text += f"{n_differ} of {len(own)} numbers differ"
        pair = self.verdict(index), self.verdict(0)
        text += "" if None in pair else f"; identified as {pair[0]!r} and {pair[1]!r}"
        apart = Estimate(0.0, 0.0, 0.0) if distance is None else distance
        if n_differ or apart.low > TOLERANCE:
            verdict = DIFFERS
        else:
            judged = [d.verdict for d in own if d.p is not None]
            verdict = NONE if known and apart.high <= TOLERANCE and OPEN not in judged else OPEN
        if distance is None:
            return Claim(id_, text + ".", None, None, None, verdict)
        return Claim(id_, text + ".", distance.value, distance.ci, 0.0, verdict)

    def verdict(self, index: int) -> str | None:
        """Which learner a checkpoint is; None if that was not asked."""
        claim = self.found[index].get("identification.model")
        return None if claim is None else claim.verdict

    @property
    def verdicts(self) -> dict[str, list[str | None]]:
        """What each checkpoint's claims say, by id; None where it has no such claim."""
        ids = {id_: None for found in self.found for id_ in found}
        return {id_: [found[id_].verdict if id_ in found else None for found in self.found] for id_ in ids}

    def figures(self) -> tuple[Figure, ...]:
        """Differences with their intervals, and the numbers side by side."""
        from mesascope.analyses.comparison.figures import draw

        return draw(self)

    def data(self) -> dict[str, Any]:
        """Every number, difference and verdict."""
        pairs = range(len(self.checkpoints))
        distances = [self.paired.distance(index) for index in pairs]
        return {
            "checkpoints": list(self.checkpoints),
            "identical": list(self.identical),
            "points": list(self.points),
            "n_prompts": self.n_prompts,
            "seed": self.seed,
            "losses": [as_json(self.paired.loss(index)) for index in pairs],
            "distances": [as_json(distance) for distance in distances],
            "differences": [difference.data() for difference in self.differences],
            "verdicts": self.verdicts,
            "left_out": self.left_out,
            "failed": self.failed,
            "not_shared": self.not_shared,
        }


def compare(
    checkpoints: Sequence[Scope | str | Path | HookedRegressor | Predictor],
    analyses: Sequence[str] | None = None,
    n_prompts: int = 20_000,
    seed: int = 0,
    n_paired: int = 4_000,
    task: Task | None = None,
    on_analysis: Callable[[str], None] = lambda name: None,
) -> Comparison:
    """Hold checkpoints against the first of them, on the same prompts.

    Losses and predictions are subtracted prompt by prompt. Of every other number that two checkpoints both have, the
    interval of the difference is made from theirs (`difference.subtract`). Which of them differ is decided for all
    together, at a false discovery rate of 5%. The same model twice gives "no difference" for everything. What does
    not apply to one of them, cannot run or has no counterpart is named in the result and costs nothing else. A mistake
    of ours ends the analyses of one checkpoint, and is kept as the result's `mistake`.

    Args:
        checkpoints: Two or more scopes, or what `attach` takes; the first is the reference.
        analyses: By their names in `report.json`, in a list or one alone, `"all"` for every one; default performance,
            readouts and identification.
        n_prompts: Prompts to fit readouts on.
        seed: Seed of every prompt and resample, of what is not a scope already.
        n_paired: Prompts that losses and predictions are compared on.
        task: What to look at them with; default the task of all. Scopes keep theirs.
        on_analysis: Called with what is measured next.

    Raises:
        MesascopeError: There are fewer than two or one that is no list, their tasks or seeds differ, no point is read
            by all, or there is no such analysis, or `n_paired` is less than 20.
    """
    if isinstance(checkpoints, str) or not isinstance(checkpoints, Sequence):
        got = repr(str(checkpoints)) if isinstance(checkpoints, str | Path) else f"one {type(checkpoints).__name__}"
        raise MesascopeError(f"got {got}; give a list of at least two to compare")
    chosen = choose_analyses(analyses, DEFAULT)
    if len(checkpoints) < 2:
        raise MesascopeError(f"got {len(checkpoints)} checkpoint; give at least two to compare")
    scopes = [c if isinstance(c, Scope) else attach(c, task=task, seed=seed) for c in checkpoints]
    check_comparable(scopes)
    names, points = unique([scope.source for scope in scopes]), tuple(common_points(scopes))
    models = [identity(scope) for scope in scopes]
    identical = tuple(model == models[0] for model in models)
    # First, for it takes seconds: what it refuses is said before anything takes minutes.
    on_analysis("losses and predictions")
    paired = measure_pairs(scopes, n_paired)
    pairs = zip(scopes, names, strict=True)
    sides = tuple(measure_side(scope, name, chosen, n_prompts, on_analysis) for scope, name in pairs)
    differences = [
        difference
        for index in range(1, len(sides))
        for difference in (*_loss(sides, paired, index, identical), *_shared(sides[index], sides[0], identical[index]))
    ]
    device = " and ".join(dict.fromkeys(map(device_of, scopes)))
    return Comparison(
        sides, identical, tuple(adjusted(differences)), paired, points, n_paired, n_prompts, device, scopes[0].seed
    )


def check_comparable(scopes: Sequence[Scope]) -> None:
    """Refuse scopes whose numbers are not of the same prompts.

    Raises:
        MesascopeError: Their tasks or seeds differ.
    """
    first = scopes[0]
    for scope in scopes[1:]:
        mine, theirs = (s.task.model_dump(mode="json") for s in (scope, first))
        fields = [field for field in {**theirs, **mine} if mine.get(field) != theirs.get(field)]
        if fields:
            field = fields[0]
            raise MesascopeError(
                f"cannot compare {scope.source} with {first.source}: their tasks differ, {field} is "
                f"{mine.get(field)!r} and {theirs.get(field)!r}; compare checkpoints of one task, or look at all with "
                "the task of one (--on CKPT)"
            )
        if scope.seed != first.seed:
            raise MesascopeError(
                f"cannot compare {scope.source} with {first.source}: seeds {scope.seed} and {first.seed} give other "
                "prompts; attach both with the same seed"
            )


def _loss(sides: Sequence[Side], paired: Paired, index: int, identical: Sequence[bool]) -> Iterator[Difference]:
    """The difference in loss, paired by prompt; none where one of the two does not predict."""
    label = "loss: relative to that of predicting zero"
    names = sides[index].name, sides[0].name
    mine, theirs, excess = paired.loss(index), paired.loss(0), paired.excess(index)
    if mine is not None and theirs is not None and excess is not None:
        yield Difference("loss", label, *names, (mine, theirs), excess, null=0.0, same=identical[index])


def _shared(side: Side, reference: Side, identical: bool) -> Iterator[Difference]:
    """The difference of every number that both have."""
    names = side.name, reference.name
    pairs = ((mine, reference.claims[id_]) for id_, mine in side.claims.items() if id_ in reference.claims)
    for mine, theirs in pairs:
        if mine.value is not None and why_not(mine, theirs, names, BY_VERDICT) is None:
            yield difference_of(mine, theirs, label_of(mine.id), names, identical)


def _not_shared(side: Side, reference: Side) -> dict[str, dict[str, list[str]]]:
    """By analysis and reason, the numbers that were not subtracted though the analysis ran on both."""
    names, found = (side.name, reference.name), dict[str, dict[str, list[str]]]()
    missing = {*side.left_out, *side.failed, *reference.left_out, *reference.failed}
    for id_ in {**reference.claims, **side.claims}:
        analysis = id_.partition(".")[0]
        why = why_not(side.claims.get(id_), reference.claims.get(id_), names, BY_VERDICT)
        if why is not None and analysis not in missing:
            label = label_of(id_).partition(": ")[2]
            found.setdefault(analysis, {}).setdefault(why, []).append(label)
    return found


def _listed(labels: Sequence[str], most: int = 6) -> str:
    """Names in a row, of many the first."""
    return ", ".join(labels[:most]) + (f" and {len(labels) - most} more" if len(labels) > most else "")


def label_of(claim_id: str) -> str:
    """A claim's id in words, such as "readouts: y in layer 2"."""
    analysis, _, detail = claim_id.partition(".")
    target, dot, hook = detail.partition(".")
    if dot and re.match(r"blocks\.\d+\.|ln_final\.", hook):
        detail = f"{target} in {layer_label(hook)}"
    return f"{analysis}: {detail.replace('_', ' ')}"


def unique(names: Sequence[str]) -> list[str]:
    """Names, numbered where one comes again; a number that makes the name of another is left out."""
    taken, found = set(names), list[str]()
    for name in names:
        if name in found:
            name = next(label for n in count(2) if (label := f"{name} ({n})") not in taken)
            taken.add(name)
        found.append(name)
    return found
