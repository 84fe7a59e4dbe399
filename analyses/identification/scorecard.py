"""Does a learner that matches a model on its training distribution match it elsewhere too?"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from mesascope.analyses.claim import as_json
from mesascope.analyses.identification.examination import Finding
from mesascope.analyses.identification.judging import EXACT
from mesascope.analyses.scope import BATCH, Scope
from mesascope.models import LinearRegression, MesascopeError, Prompts, prompting_suites
from mesascope.models.battery import bounded
from mesascope.models.inputs import Gaussian, Mixture, Uniform
from mesascope.models.spectra import LogUniform
from mesascope.probes import Estimate, block_sums, jackknife_ratio

N_PROMPTS, N_BLOCKS = 400, 20
TOLERANCE = 2.0
"""What a learner may miss under a shift, in units of what it misses in distribution."""
KAPPA = 100.0
"""Condition of the covariance that is tried."""


@dataclass(frozen=True)
class Shift:
    """Another distribution of prompts."""

    name: str
    task: LinearRegression
    reorder: Callable[[Prompts], Prompts] = field(default=lambda prompts: prompts)
    last_only: bool = False
    """Whether the last point alone is a query, as in Garg's query suites."""


@dataclass(frozen=True)
class Score:
    """How a learner, its scalars as they were, does under one shift."""

    shift: str
    missed: Estimate | None
    """Σ (ŷ − ŷ_learner)² over the smaller of Σ (ŷ_learner − y)² and Σ ŷ_learner²; None if it could not be run."""
    reason: str
    """Why it could not."""

    def survives(self, allowed: float) -> bool | None:
        """Whether no more is missed than allowed; None if it could not be run."""
        return None if self.missed is None else self.missed.value <= allowed


@dataclass(frozen=True)
class Scorecard:
    """The named learner under every shift, in distribution first."""

    learner: str
    scores: tuple[Score, ...]
    allowed: float
    """What may be missed: 1%, or twice what is missed in distribution."""

    @property
    def survived(self) -> tuple[str, ...]:
        """The shifts under which the learner still predicts what the model does."""
        return tuple(score.shift for score in self.scores[1:] if score.survives(self.allowed))

    @property
    def failed(self) -> tuple[str, ...]:
        """The shifts under which it does not."""
        return tuple(score.shift for score in self.scores[1:] if score.survives(self.allowed) is False)

    def summary(self, verdict: str) -> str:
        """The name of one family, as far as the shifts bear it out."""
        if self.failed:
            return f"matches {verdict} on its training distribution"
        return f"implements {verdict}" if self.survived else verdict

    def data(self) -> dict[str, Any]:
        """Every shift."""
        return {
            "learner": self.learner,
            "allowed": self.allowed,
            "survived": list(self.survived),
            "failed": list(self.failed),
            "scores": [{"shift": s.shift, "missed": as_json(s.missed), "reason": s.reason} for s in self.scores],
        }


def shifts(task: LinearRegression) -> tuple[Shift, ...]:
    """The task itself, then scale of x and w, covariance, noise, length, order and Garg's suites.

    Prompts of a mixture are shifted from its first component.
    """
    inputs = task.inputs.components[0] if isinstance(task.inputs, Mixture) else task.inputs
    found = [Shift("in distribution", task)]
    if not isinstance(inputs, Gaussian | Uniform):
        return tuple(found)
    base = task.model_copy(update={"inputs": inputs})
    queries = ("random_quadrants", "opposite_quadrants", "orthogonal_query", "overlapping_query")
    names = {name: name.replace("_", " ").replace("y scale", "w scale") for name in prompting_suites(base)}
    found += [
        Shift(names[name], suite, last_only=name in queries)
        for name, suite in prompting_suites(base).items()
        if name != "standard"
    ]
    unit = inputs.mean_square**0.5
    wide = base.model_copy(update={"inputs": Gaussian(spectrum=LogUniform(kappa=KAPPA), scale=unit)})
    found.append(Shift(f"covariance of condition {KAPPA:g}", wide))
    shorter, longer = max(2, task.n_points // 2), 2 * task.n_points
    found += [Shift(f"{n} points", base.model_copy(update={"n_points": n})) for n in (shorter, longer)]
    found.append(Shift("sorted by |x|", base, by_length))
    return tuple(found)


def by_length(prompts: Prompts) -> Prompts:
    """The same points in the order of |x|, but for the last, which stays the query."""
    order = prompts.xs[:, :-1].norm(dim=-1).argsort(dim=1)
    last = torch.full_like(order[:, :1], prompts.n_points - 1)
    order = torch.cat([order, last], dim=1)
    xs = prompts.xs.gather(1, order[..., None].expand_as(prompts.xs))
    return Prompts(xs, prompts.ys.gather(1, order), prompts.w)


def keep_score(scope: Scope, finding: Finding) -> Scorecard | None:
    """Hold a finding's learner, its scalars as fitted, against the model under every shift; None off linear tasks."""
    if not isinstance(scope.task, LinearRegression):
        return None
    scores = [score(scope, finding, shift) for shift in shifts(scope.task)]
    inside = scores[0].missed
    allowed = EXACT if inside is None else max(EXACT, TOLERANCE * inside.value)
    return Scorecard(finding.learner.label, tuple(scores), allowed)


def score(scope: Scope, finding: Finding, shift: Shift) -> Score:
    """The learner's score under one shift."""
    try:
        moved = Scope(scope.model, shift.task, scope.source, scope.seed)
        prompts = shift.reorder(moved.prompts(N_PROMPTS, "shift"))
        read = scope.model.read_points(prompts.n_points)
        points = [t for t in read if t > 0 and (t == prompts.n_points - 1 or not shift.last_only)]
        if not points:
            return Score(shift.name, None, "it leaves no point to predict from others")
        raw = torch.cat([scope.model(part.xs, part.ys).detach() for part in prompts.split(BATCH)])
    except MesascopeError as refused:
        return Score(shift.name, None, str(refused))
    raw = raw[:, [list(read).index(t) for t in points]]
    if not raw.isfinite().all():
        return Score(shift.name, Estimate(math.inf, math.inf, math.inf), "it predicts NaN or infinity")
    preds = bounded(raw, prompts, points)
    theirs = bounded(finding.learner.predict_at(prompts, points), prompts, points)
    missed, size = (values.square().sum(1) for values in (preds - theirs, theirs))
    error = (theirs - prompts.ys[:, points].double()).square().sum(1)
    scale = size if size.sum() < error.sum() else error
    if not scale.sum() > 1e-12 * prompts.ys.double().square().sum():
        # Such as a query that is orthogonal to all points: there is nothing to predict, and that must be met too.
        scale = prompts.ys[:, points].double().square().sum(1)
    return Score(shift.name, jackknife_ratio(block_sums(missed, N_BLOCKS), block_sums(scale, N_BLOCKS)), "")
