"""Which learning algorithm is it? A name only where the evidence excludes every other."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from mesascope.analyses.claim import NOT_LINEAR, Claim, Figure, Result
from mesascope.analyses.fitting import n_twin_prompts
from mesascope.analyses.identification.discrimination import Discrimination
from mesascope.analyses.identification.examination import Examination, Finding, Subject, describe_estimate
from mesascope.analyses.identification.figures import draw
from mesascope.analyses.identification.scorecard import Scorecard, keep_score
from mesascope.analyses.layers import predict_layers_on
from mesascope.analyses.scope import Scope
from mesascope.models import HookedRegressor, MesascopeError, Prompts
from mesascope.models.interfaces import SlotReadOut
from mesascope.models.learners.base import Sweep
from mesascope.probes.jackknife import N_RANKED


@dataclass(frozen=True)
class Identification(Result):
    """Every layer against every family, with floors, ceiling and verdict."""

    name: ClassVar[str] = "identification"
    title: ClassVar[str] = "Which learner?"
    question: ClassVar[str] = "Which learning algorithm does each layer's prediction come from?"
    evidence = "predictions"

    layers: tuple[Finding, ...]
    """The output last."""
    discrimination: Discrimination
    """How far apart the rivals are on these prompts."""
    scorecard: Scorecard | None
    """The output's learner under shifts; None where nothing is named."""
    n_prompts: int
    n_tune: int
    seed: int
    linear_task: bool = True

    @property
    def output(self) -> Finding:
        """The model's own prediction."""
        return self.layers[-1]

    @property
    def verdict(self) -> str:
        """The output's verdict in distribution."""
        return self.output.verdict.text

    @property
    def summary(self) -> str:
        """The model's verdict: what it implements, if that survives every shift, or only matches."""
        if self.scorecard is None:
            return self.verdict
        return self.scorecard.summary(self.verdict)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Learners that are the wrong ones, or rivals that these prompts cannot tell apart."""
        return (*(() if self.linear_task else (NOT_LINEAR,)), *self.discrimination.warnings(self.n_prompts))

    @property
    def claims(self) -> tuple[Claim, ...]:
        """The model's verdict, then one claim a layer, the output first."""
        return (self._model(), *(finding.claim() for finding in reversed(self.layers)))

    def _model(self) -> Claim:
        output = self.output.claim()
        strengths = ", ".join(describe_estimate(symbol, value) for symbol, value in self.output.strength.items())
        text = f"The model {self.summary}" if self.scorecard else f"The model: {self.summary}"
        text += f", with {strengths}" if strengths and self.output.verdict.named and not self.output.mixture else ""
        if self.scorecard and self.scorecard.failed:
            text += f"; not under {', '.join(self.scorecard.failed)}"
        return Claim("identification.model", text + ".", output.value, output.ci, output.null, self.summary)

    @property
    def headlines(self) -> tuple[Claim, ...]:
        """The model's verdict."""
        return self.claims[:1]

    def figures(self) -> tuple[Figure, ...]:
        """Shares left unexplained by layer, strengths by layer, the confusion of the rivals, and the scorecard."""
        return draw(self)

    def data(self) -> dict[str, Any]:
        """Everything that the verdicts rest on."""
        return {
            "n_prompts": self.n_prompts,
            "n_tune": self.n_tune,
            "seed": self.seed,
            "verdict": self.verdict,
            "summary": self.summary,
            "layers": [finding.data() for finding in self.layers],
            "discrimination": self.discrimination.data(),
            "scorecard": None if self.scorecard is None else self.scorecard.data(),
        }


def identify(
    scope: Scope,
    seed: int | None = None,
    n_prompts: int = 1_000,
    n_tune: int = 256,
    n_fit: int = 10_000,
    rivals: Sequence[Sweep] | None = None,
    shifts: bool = True,
    on_plan: Callable[[Discrimination], None] = lambda plan: None,
) -> Identification:
    """Hold every layer against every learner, and name one where the evidence allows.

    Each family's scalars and steps are fitted to each layer's predictions on prompts that are not scored. On other
    prompts, what the nearest member leaves unexplained is set against a ceiling (a spline filter, or a regression on
    all learners), against the other families by bootstrap over prompts, and against floors: the zero predictor,
    untrained twins and shuffled prompts. See `identification.judging.judge` for when that is a name, "undetermined",
    "like A, but not it", a mixture, "none of the listed", "undetermined: untrained models reach this" or "no
    algorithm".

    Args:
        scope: Where to look; a bare predictor is judged by its output alone.
        seed: Seed of prompts and resamples; default the scope's.
        n_prompts: Prompts to score on; memory does not depend on it.
        n_tune: Prompts to fit the rivals on.
        n_fit: Prompts to fit the layers' readouts on.
        rivals: Learners over grids of their scalars; default `models.battery.rivals` of the task.
        shifts: Whether the output's learner is also held against the model out of distribution.
        on_plan: Called before scoring, unless that was done before, with how far apart the rivals are, and how many
            prompts tell them apart.

    Raises:
        MesascopeError: The task is discrete, the model reads no point after the first, a prediction is NaN or
            infinite or sees the answer, there is no rival, or there are too few prompts.
    """
    scope = scope.reseeded(seed)
    if rivals is not None and not rivals:
        raise MesascopeError("identify got no rivals; hand over at least one learner, or leave them out for all")
    key = ("identification", n_prompts, n_tune, n_fit, None if rivals is None else tuple(rivals), shifts)
    return scope.once(key, lambda: _identify(scope, n_prompts, n_tune, n_fit, rivals, shifts, on_plan))


def _identify(
    scope: Scope,
    n_prompts: int,
    n_tune: int,
    n_fit: int,
    rivals: Sequence[Sweep] | None,
    shifts: bool,
    on_plan: Callable[[Discrimination], None],
) -> Identification:
    examination = Examination(scope, n_tune, rivals)
    examination.check(n_prompts)
    layers = predict_layers_on(scope, examination.tune, n_fit)
    subjects = [examination.enter(label, preds) for label, preds in zip(layers.labels, layers.preds, strict=True)]
    plan = examination.plan(subjects[-1])
    on_plan(plan)
    for twin in scope.untrained:
        twin_layers = predict_layers_on(twin, examination.tune, n_twin_prompts(n_fit))
        for subject, preds in zip(subjects, twin_layers.preds, strict=True):
            subject.twins.append(examination.null(preds))

    _add_twins(scope, examination, subjects, n_fit)

    def feed() -> Iterator[tuple[Prompts, Sequence[Tensor]]]:
        for batch in scope.batches(n_prompts, "identify"):
            yield batch, list(predict_layers_on(scope, batch, n_fit).preds)

    findings = examination.examine(subjects, feed, n_prompts)
    output = findings[-1]
    scorecard = (
        keep_score(scope, output) if shifts and len(output.verdict.families) == 1 and output.verdict.named else None
    )
    return Identification(findings, plan, scorecard, n_prompts, n_tune, scope.seed, scope.regression.linear)


def _add_twins(scope: Scope, examination: Examination, subjects: Sequence[Subject], n_fit: int) -> None:
    """More untrained twins of what a few may predict as well as, so that their range decides.

    Twins that take a readout cost too much for that: of such models the output alone is settled.
    """
    slots = isinstance(scope.model, HookedRegressor) and isinstance(scope.model.unembed, SlotReadOut)
    places = range(-len(subjects), 0) if slots else [-1]  # the output is last, of subjects as of predictions
    open_ = [place for place in places if examination.unsettled(subjects[place])]
    if not open_:
        return
    tune = examination.tune
    for index in range(len(scope.untrained), N_RANKED):
        twin = scope.untrained_twin(index)
        preds = predict_layers_on(twin, tune, n_fit).preds if slots else twin.predict(tune)[None]
        for place in open_:
            subjects[place].more.append(examination.skill(preds[place]))
