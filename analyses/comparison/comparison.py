"""Two or more checkpoints side by side: every claim of theirs that has the same name, subtracted."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from mesascope.analyses.claim import Claim, Figure, Result, as_json
from mesascope.analyses.comparison.difference import DIFFERS, NONE, OPEN, SAME, Difference, adjusted, subtract
from mesascope.analyses.comparison.paired import Paired, common_points, measure_pairs
from mesascope.analyses.identification import Identification
from mesascope.analyses.layers import layer_label
from mesascope.analyses.performance import TOLERANCE, Performance
from mesascope.analyses.readouts import Readouts
from mesascope.analyses.scope import Scope, attach
from mesascope.analyses.selection import choose_analyses
from mesascope.analyses.store import fingerprint
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

    checkpoints: tuple[str, ...]
    """The first is the reference."""
    identical: tuple[bool, ...]
    """Whether a checkpoint has the reference's weights and architecture."""
    found: tuple[Mapping[str, Claim], ...]
    """Every claim of each checkpoint, by id."""
    differences: tuple[Difference, ...]
    """Of every number that a checkpoint shares with the reference."""
    paired: Paired
    points: tuple[int, ...]
    """The points at which losses and predictions were compared."""
    n_prompts: int
    seed: int

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
        """What an interval does not know."""
        return (
            "Intervals are over prompts for these weights. What another seed of training would give they do not say: "
            "train several and compare those.",
        )

    def _whole(self, index: int) -> Claim:
        mine, reference = self.checkpoints[index], self.checkpoints[0]
        own = [difference for difference in self.differences if difference.checkpoint == mine]
        n_differ, distance = sum(d.verdict == DIFFERS for d in own), self.paired.distance(index)
        id_ = f"comparison.{mine}"
        if self.identical[index]:
            return Claim(id_, f"{mine} and {reference} have the same weights.", 0.0, (0.0, 0.0), 0.0, SAME)
        text = f"{mine} against {reference}: "
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
            verdict = NONE if apart.high <= TOLERANCE and OPEN not in judged else OPEN
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
            "distances": [None if distance is None else as_json(distance) for distance in distances],
            "differences": [difference.data() for difference in self.differences],
            "verdicts": self.verdicts,
        }


def compare(
    checkpoints: Sequence[Scope | str | Path | HookedRegressor],
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
    together, at a false discovery rate of 5%. Identical weights give "no difference" for everything.

    Args:
        checkpoints: Two or more scopes, or what `attach` takes; the first is the reference.
        analyses: By their names in `report.json`, `"all"` for every one; default performance, readouts and
            identification.
        n_prompts: Prompts to fit readouts on.
        seed: Seed of every prompt and resample, of what is not a scope already.
        n_paired: Prompts that losses and predictions are compared on.
        task: What to look at them with; default the task of all. Scopes keep theirs.
        on_analysis: Called with what is measured next.

    Raises:
        MesascopeError: There are fewer than two, their tasks or seeds differ, no point is read by all, there is no
            such analysis, or one cannot run.
    """
    chosen = choose_analyses(analyses, DEFAULT)
    if len(checkpoints) < 2:
        raise MesascopeError(f"got {len(checkpoints)} checkpoint; give at least two to compare")
    scopes = [c if isinstance(c, Scope) else attach(c, task=task, seed=seed) for c in checkpoints]
    check_comparable(scopes)
    labels, points = unique([scope.source for scope in scopes]), common_points(scopes)
    prints = [(fingerprint(scope), scope.hooked.cfg) for scope in scopes]
    identical = tuple(print_ == prints[0] for print_ in prints)
    found: list[dict[str, Claim]] = []
    for scope, label in zip(scopes, labels, strict=True):
        found.append({})
        for name, analysis in chosen.items():
            on_analysis(f"{name} of {label}")
            if analysis.applies(scope):
                found[-1] |= {claim.id: claim for claim in analysis.run(scope, n_prompts).claims}
    on_analysis("losses and predictions")
    paired = measure_pairs(scopes, n_paired)
    differences = []
    for index in range(1, len(scopes)):
        loss = Difference(
            "loss",
            "loss: relative to that of predicting zero",
            labels[index],
            labels[0],
            (paired.loss(index), paired.loss(0)),
            paired.excess(index),
            null=0.0,
            same=identical[index],
        )
        shared = [id_ for id_ in found[index] if id_ in found[0]]
        claims = [subtracted(found[index][id_], found[0][id_], labels[index], labels[0]) for id_ in shared]
        differences += [loss, *(claim for claim in claims if claim is not None)]
    return Comparison(
        tuple(labels),
        identical,
        tuple(found),
        tuple(adjusted(differences)),
        paired,
        tuple(points),
        n_paired,
        scopes[0].seed,
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


def subtracted(mine: Claim, theirs: Claim, checkpoint: str, reference: str) -> Difference | None:
    """The difference of a claim's number; None unless both have one, and of the same kind."""
    if mine.value is None or theirs.value is None:
        return None
    if mine.id.partition(".")[0] in BY_VERDICT and mine.verdict != theirs.verdict:
        return None
    values = _estimate(mine), _estimate(theirs)
    delta: Estimate | float = mine.value - theirs.value
    if isinstance(values[0], Estimate) and isinstance(values[1], Estimate):
        delta = subtract(values[0], values[1])
    same = values[0] == values[1]
    return Difference(mine.id, label_of(mine.id), checkpoint, reference, values, delta, theirs.null or 0.0, same)


def label_of(claim_id: str) -> str:
    """A claim's id in words, such as "readouts: y in layer 2"."""
    analysis, _, detail = claim_id.partition(".")
    target, dot, hook = detail.partition(".")
    if dot and re.match(r"blocks\.\d+\.|ln_final\.", hook):
        detail = f"{target} in {layer_label(hook)}"
    return f"{analysis}: {detail.replace('_', ' ')}"


def unique(names: Sequence[str]) -> list[str]:
    """Names, numbered where one comes again."""
    return [
        name if names.index(name) == index else f"{name} ({names[: index + 1].count(name)})"
        for index, name in enumerate(names)
    ]


def _estimate(claim: Claim) -> Estimate | float:
    assert claim.value is not None
    return claim.value if claim.ci is None else Estimate(claim.value, *claim.ci)
