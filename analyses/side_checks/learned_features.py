"""Is a nonlinear model's prediction a gradient step on features that its layers have learned?"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.analyses.claim import Claim, Figure, Result, fixed
from mesascope.analyses.scope import Scope
from mesascope.analyses.side_checks.agreement import (
    ALIKE,
    BEYOND,
    SAME,
    Agreement,
    Behaviour,
    Predict,
    at_the_query,
)
from mesascope.analyses.side_checks.feature_steps import STEPS, best_eta, predictor, read_stream
from mesascope.models import HookedRegressor, MesascopeError, Prompts
from mesascope.models.attention import LinearAttention
from mesascope.models.gradient_step import GradientStep
from mesascope.models.interfaces import SlotReadOut

N_PROMPTS, N_TUNE, LEAST_PROMPTS = 4_000, 4_000, 40
N_CURVES, GRID = 4, 81
"""Prompts of one dimension that are drawn, and queries on which each is."""


@dataclass(frozen=True)
class FeatureStep:
    """One way to read it."""

    name: str
    eta: float
    """Least squares on tuning prompts."""
    agreement: Agreement
    """The model and the step on its features."""
    untrained: tuple[Agreement, ...]
    """The model and the same step on the features of untrained twins, each with its best η."""

    def data(self) -> dict[str, Any]:
        """Every number."""
        return {
            "name": self.name,
            "eta": self.eta,
            "agreement": self.agreement.data(),
            "untrained": [null.data() for null in self.untrained],
        }


@dataclass(frozen=True)
class Curves:
    """Predictions of some prompts at every query, where x is a number."""

    x: Float[Tensor, " n_grid"]
    context: Prompts
    preds: dict[str, Float[Tensor, "n_curves n_grid"]]


@dataclass(frozen=True)
class LearnedFeatures(Result):
    """A model beside gradient steps on its own features."""

    name: ClassVar[str] = "learned-features"
    title: ClassVar[str] = "A step on learned features?"
    question: ClassVar[str] = (
        "Is the prediction one gradient step on features that the layers before attention make of x?"
    )

    steps: tuple[FeatureStep, ...]
    start: Agreement
    """The model and its own first guess, no example looked at."""
    frozen: Agreement | None
    """The model and a twin trained with its attention frozen to a gradient step; None if none was given."""
    curves: Curves | None
    n_prompts: int
    seed: int

    @property
    def claims(self) -> tuple[Claim, ...]:
        """The frozen twin, then each way to read a step."""
        frozen = () if self.frozen is None else (_frozen_claim(self.frozen, self.start),)
        return (*frozen, *(_claim(step, self.start) for step in self.steps))

    def figures(self) -> tuple[Figure, ...]:
        """Losses and differences, and the curves where x is a number."""
        from mesascope.analyses.side_checks.feature_figures import draw

        return draw(self)

    def data(self) -> dict[str, Any]:
        """Every number."""
        return {
            "n_prompts": self.n_prompts,
            "seed": self.seed,
            "steps": [step.data() for step in self.steps],
            "start": self.start.data(),
            "frozen": None if self.frozen is None else self.frozen.data(),
        }


def compare_on_features(
    scope: Scope,
    frozen: Scope | None = None,
    n_prompts: int = N_PROMPTS,
    n_tune: int = N_TUNE,
    seed: int | None = None,
) -> LearnedFeatures:
    """Hold a model against one gradient step on what its last attention layer reads.

    Three ways to read "a step on learned features" are tried (`STEPS`), from the plainest on, each with its best η.

    Args:
        scope: A model whose only attention is linear and last, with prediction and y in a slot of their own, such as
            "zoo:sine".
        frozen: A twin of it that was trained with its attention frozen to a gradient step, such as "zoo:sine-gd".
        n_prompts: Prompts to score on.
        n_tune: Prompts to find η on.
        seed: Seed of the prompts; default the scope's.

    Raises:
        MesascopeError: The model or the task is another, or there are fewer than 40 prompts of either.

    Source: von Oswald et al. (2023), section 4, who compare with the frozen twin; the other two ways are ours.
    """
    if min(n_prompts, n_tune) < LEAST_PROMPTS:
        raise MesascopeError(f"n_prompts={n_prompts}, n_tune={n_tune}: expected at least {LEAST_PROMPTS} of either")
    scope = scope.reseeded(seed)
    model = _checked(scope)
    tuning, prompts = scope.prompts(n_tune, "feature tuning"), scope.prompts(n_prompts, "learned features")
    ys, own = prompts.ys[:, -1], Behaviour.of(at_the_query(model), prompts)
    scope.refuse_non_finite(own.preds[:, None])
    steps, drawn = [], {"model": at_the_query(model)}
    for name, (_, step) in STEPS.items():
        eta = best_eta(model, step, tuning)
        found = predictor(model, step, eta)
        twins = (twin.hooked for twin in scope.untrained)
        nulls = [Behaviour.of(predictor(twin, step, best_eta(twin, step, tuning)), prompts) for twin in twins]
        agreement = Agreement.of(own, Behaviour.of(found, prompts), ys)
        steps.append(FeatureStep(name, eta, agreement, tuple(Agreement.of(own, null, ys) for null in nulls)))
        drawn[name] = found
    first_guess = Behaviour.of(lambda part: read_stream(model, part).starts[:, -1], prompts)
    beside = None
    if frozen is not None:
        drawn["frozen twin"] = at_the_query(frozen.hooked)
        beside = Agreement.of(own, Behaviour.of(drawn["frozen twin"], prompts), ys)
    curves = _curves(drawn, prompts) if prompts.n_dims == 1 else None
    start = Agreement.of(own, first_guess, ys)
    return LearnedFeatures(tuple(steps), start, beside, curves, n_prompts, scope.seed)


def steps_on_features(model: HookedRegressor) -> bool:
    """Whether one gradient step, on what other layers make of x, could be what a model does."""
    last = model.blocks[-1]
    return (
        model.cfg.layout == "joint"
        and isinstance(model.unembed, SlotReadOut)
        and model.cfg.d_y == 1
        and sum(block.attn is not None for block in model.blocks) == 1
        and type(last.attn) in (LinearAttention, GradientStep)
        and last.mlp is None
    )


def _checked(scope: Scope) -> HookedRegressor:
    """The model, if one gradient step on learned features could be what it does, and the task is a regression."""
    model, _ = scope.hooked, scope.regression
    if not steps_on_features(model):
        raise MesascopeError(
            f"{scope.source} is no model whose only attention is linear, the last thing it does, and writes a slot of "
            "one y on joint tokens, so that there is no gradient step on what layers make of x; see match_weights"
        )
    return model


@torch.no_grad()
def _curves(drawn: dict[str, Predict], prompts: Prompts) -> Curves:
    """What each predicts over the range of x, for the first prompts."""
    context = prompts[:N_CURVES]
    x = torch.linspace(prompts.xs.min().item(), prompts.xs.max().item(), GRID).to(prompts.xs)
    xs, ys = (values.repeat_interleave(GRID, 0) for values in (context.xs, context.ys))
    xs = torch.cat([xs[:, :-1], x.repeat(len(context))[:, None, None]], dim=1)
    preds = {name: predict(Prompts(xs, ys)).double().unflatten(0, (-1, GRID)) for name, predict in drawn.items()}
    return Curves(x.double(), context, preds)


def _claim(step: FeatureStep, start: Agreement) -> Claim:
    found, (about, _) = step.agreement, STEPS[step.name]
    null = min(other.difference.value for other in (*step.untrained, start))
    text = (
        f'A gradient step on learned features, read as "{step.name}" ({about}; η = {step.eta:.3g}), has a loss of '
        f"{fixed(found.other_loss.value, 4)} of that of predicting zero, the model {fixed(found.loss.value, 4)}; their "
        f"predictions differ by {100 * found.difference.value:.2g}% of y and their errors have cosine "
        f"{fixed(found.similarity.value)}."
    )
    name = f"learned-features.{step.name.replace(' ', '-')}"
    return Claim(name, text, found.difference.value, found.difference.ci, null, _verdict(found, null))


def _frozen_claim(found: Agreement, start: Agreement) -> Claim:
    text = (
        "The twin that was trained with its attention frozen to a gradient step has a loss of "
        f"{fixed(found.other_loss.value, 4)} of that of predicting zero, the model {fixed(found.loss.value, 4)}; their "
        f"predictions differ by {100 * found.difference.value:.2g}% of y and their errors have cosine "
        f"{fixed(found.similarity.value)}."
    )
    null = start.difference.value
    return Claim(
        "learned-features.frozen", text, found.difference.value, found.difference.ci, null, _verdict(found, null)
    )


def _verdict(found: Agreement, null: float) -> str:
    """The same, alike (by 1% of the mean square of y, and nearer than half of what the nulls are), or not."""
    bound = min(ALIKE, BEYOND * null)
    if found.verdict == SAME:
        return SAME if found.difference.high <= bound else f"{SAME}, as untrained"
    if found.difference.high <= bound:
        return "alike"
    return "not alike" if found.difference.low > bound else "undetermined"
