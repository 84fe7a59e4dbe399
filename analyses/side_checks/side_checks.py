"""Does the model behave as the construction that its weights hold?"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.analyses.claim import Claim, Figure, Result
from mesascope.analyses.matching.matching import Matching, own_bases
from mesascope.analyses.scope import Scope
from mesascope.analyses.side_checks.agreement import (
    ALIKE,
    BEYOND,
    CONSTRUCTION,
    MODEL,
    SAME,
    UNTRAINED,
    Agreement,
    Behaviour,
    at_the_query,
)
from mesascope.analyses.side_checks.construction import constructed, copied
from mesascope.analyses.side_checks.interpolation import Path, interpolate
from mesascope.analyses.side_checks.iteration import Rollout, roll_out
from mesascope.analyses.side_checks.shifted import Shifted, under_shifts
from mesascope.models import (
    HookedRegressor,
    LinearRegression,
    MesascopeError,
    Prompts,
    gradient_descent,
    optimal_preconditioned_step,
    optimal_step,
)
from mesascope.probes import TokenBasis
from mesascope.probes.similarity import similarity_of_weights

T = TypeVar("T")
N_PROMPTS, LEAST_PROMPTS = 10_000, 40
N_NULL = 2_000
"""Prompts on the ways to untrained twins."""
N_SHOWN = 60
"""Prompts whose sensitivities are drawn."""
TAIL, HEAVY = 0.01, 0.5
"""A warning says that the worst prompts, this share of them, hold more than that share of the loss."""


@dataclass(frozen=True)
class Sensitivities:
    """∂ŷ/∂x_q of model, construction and an untrained twin."""

    slopes: Mapping[str, Float[Tensor, "n_shown n_dims"]]
    """Of some prompts."""
    cosines: Mapping[str, Float[Tensor, " n_prompts"]]
    """With the construction's, by prompt."""


@dataclass(frozen=True)
class SideChecks(Result):
    """A model beside a construction, by what both do."""

    name: ClassVar[str] = "side-checks"
    title: ClassVar[str] = "Does it behave so?"
    question: ClassVar[str] = (
        "Does the model behave as the construction that its weights hold, also where it was not trained?"
    )

    construction: str
    """In words, such as "1 step of GD"."""
    agreement: Agreement
    """Model and construction."""
    untrained: tuple[Agreement, ...]
    """Untrained twins and the construction."""
    zero: Agreement
    """Predicting zero and the construction."""
    closed_form: Agreement | None
    """Model and the best single step; None where there is no closed form."""
    sensitivities: Sensitivities
    path: Path | str
    """From the model's weights to the construction's, or why there is none."""
    untrained_paths: tuple[Path, ...]
    """To untrained twins."""
    shifts: tuple[Shifted, ...]
    rollout: Rollout | str
    """The layer iterated, or why not."""
    tail: float
    """Share of the model's loss that the worst 1% of prompts hold."""
    n_prompts: int
    seed: int

    @property
    def nulls(self) -> tuple[Agreement, ...]:
        """What says nothing of the construction: untrained twins and predicting zero."""
        return (*self.untrained, self.zero)

    @property
    def verdict(self) -> str:
        """What the model is by behaviour."""
        found, nearest = self.agreement, min(null.difference.value for null in self.nulls)
        if any(null.verdict == SAME for null in self.nulls):
            return f"{self.construction}, as untrained"
        if found.verdict == SAME:
            return self.construction
        if found.difference.high <= min(ALIKE, BEYOND * nearest):
            like = f"like {self.construction}"
            return like if found.verdict == "undetermined" else f"{like}, but not it"
        return found.verdict if found.verdict == "undetermined" else f"not {self.construction}"

    @property
    def warnings(self) -> tuple[str, ...]:
        """Losses that few prompts decide."""
        if self.tail <= HEAVY:
            return ()
        return (
            f"The worst {TAIL:.0%} of prompts hold {self.tail:.0%} of the model's loss: losses, their ratio and the "
            "similarity of errors are decided by rare contexts, and other prompts will give others.",
        )

    @property
    def claims(self) -> tuple[Claim, ...]:
        """The verdict, then each check."""
        from mesascope.analyses.side_checks.claims import claims_of

        return claims_of(self)

    def figures(self) -> tuple[Figure, ...]:
        """Sensitivities, the way between both networks, shifts, and the layer iterated."""
        from mesascope.analyses.side_checks.figures import draw

        return draw(self)

    def data(self) -> dict[str, Any]:
        """Every number."""
        return {
            "construction": self.construction,
            "verdict": self.verdict,
            "n_prompts": self.n_prompts,
            "seed": self.seed,
            "tail": self.tail,
            "agreement": self.agreement.data(),
            "untrained": [null.data() for null in self.untrained],
            "zero": self.zero.data(),
            "closed_form": None if self.closed_form is None else self.closed_form.data(),
            "path": self.path if isinstance(self.path, str) else self.path.data(),
            "untrained_paths": [path.data() for path in self.untrained_paths],
            "shifts": [shift.data() for shift in self.shifts],
            "rollout": self.rollout if isinstance(self.rollout, str) else self.rollout.data(),
        }


def check_construction(
    scope: Scope, construction: Matching | HookedRegressor, n_prompts: int = N_PROMPTS, seed: int | None = None
) -> SideChecks:
    """Hold a model against the construction that its weights were matched to, by behaviour.

    What agrees in weights must agree in what it does: predictions, sensitivities to the query, losses and errors, in
    distribution, with x or w scaled and with labels replaced; along the way from the one network to the other; and,
    where there is one layer or tied ones, when that is iterated.

    Args:
        scope: A hooked model and a task of linear regression; its prediction of the last point is looked at.
        construction: `match_weights(scope)`, whose construction is run by `constructed`, or a model of your own, such
            as `gradient_descent(...)`.
        n_prompts: Prompts.
        seed: Seed of the prompts; default the scope's.

    Raises:
        MesascopeError: No construction was matched, it cannot be run, the task is not linear regression or the model
            has no layers, or there are fewer than 40 prompts.

    Source: von Oswald et al. (2023), sections 3 and 4, and their code.
    """
    if n_prompts < LEAST_PROMPTS:
        raise MesascopeError(f"n_prompts={n_prompts}: the intervals need at least {LEAST_PROMPTS} prompts")
    scope = scope.reseeded(seed)
    if isinstance(construction, Matching):
        return _check(scope, constructed(scope, construction), construction.verdict, n_prompts)
    return _check(scope, _fitting(construction, scope.hooked), "the given construction", n_prompts)


def _check(scope: Scope, other: HookedRegressor, label: str, n_prompts: int) -> SideChecks:
    task, model, twins = scope.linear, scope.hooked, [twin.hooked for twin in scope.untrained]
    prompts = scope.prompts(n_prompts, "side checks")
    own, theirs, *untrained = (Behaviour.of(at_the_query(each), prompts) for each in (model, other, *twins))
    scope.refuse_non_finite(own.preds[:, None])
    best, ys = closed_form(model, task), prompts.ys[:, -1]
    errors = (own.preds - ys).square().sort().values
    worst = errors[-max(1, round(TAIL * len(errors))) :].sum() / errors.sum().clamp(min=1e-300)
    behaviours = {MODEL: own, CONSTRUCTION: theirs, UNTRAINED: untrained[0]}
    compared = {MODEL: model, CONSTRUCTION: other, UNTRAINED: twins[0]}

    def bases() -> dict[int, TokenBasis]:
        return scope.once(("token bases",), lambda: own_bases(scope))

    def way_to(end: HookedRegressor, prompts: Prompts) -> Path | str:
        return _or_why(lambda: interpolate(model, end, bases(), prompts))

    return SideChecks(
        construction=label,
        agreement=Agreement.of(own, theirs, ys),
        untrained=tuple(Agreement.of(twin, theirs, ys) for twin in untrained),
        zero=Agreement.of(Behaviour.zero(prompts), theirs, ys),
        closed_form=None if best is None else Agreement.of(own, Behaviour.of(at_the_query(best), prompts), ys),
        sensitivities=Sensitivities(
            {name: found.slopes[:N_SHOWN].cpu() for name, found in behaviours.items()},
            {name: similarity_of_weights(found.slopes, theirs.slopes).cpu() for name, found in behaviours.items()},
        ),
        path=way_to(other, prompts),
        untrained_paths=tuple(way for twin in twins if isinstance(way := way_to(twin, prompts[:N_NULL]), Path)),
        shifts=under_shifts({k: at_the_query(each) for k, each in compared.items()}, prompts, task.w_std, scope.seed),
        rollout=_or_why(lambda: roll_out(compared, bases(), prompts)),
        tail=worst.item(),
        n_prompts=n_prompts,
        seed=scope.seed,
    )


def _or_why(make: Callable[[], T]) -> T | str:
    """What is made, or the reason why it does not apply."""
    try:
        return make()
    except MesascopeError as refused:
        return str(refused)


def _fitting(construction: HookedRegressor, model: HookedRegressor) -> HookedRegressor:
    """A construction of the user's own, in the model's precision and place."""
    if (construction.cfg.n_dims, construction.cfg.d_out) != (model.cfg.n_dims, model.cfg.d_out):
        raise MesascopeError(
            f"the construction has n_dims={construction.cfg.n_dims} and d_out={construction.cfg.d_out}, but the model "
            f"{model.cfg.n_dims} and {model.cfg.d_out}; build one of the model's dimensions"
        )
    return copied(construction).to(next(model.parameters()))


def closed_form(model: HookedRegressor, task: LinearRegression) -> HookedRegressor | None:
    """The best single step on a task, for a model of one layer that could take it; None where none is known."""
    if len(model.attentions) != 1 or model.cfg.layout != "joint":
        return None
    builds = (
        lambda: optimal_preconditioned_step(task, dtype=torch.float64),
        lambda: gradient_descent(task.n_dims, task.n_points, optimal_step(task).eta, dtype=torch.float64),
    )
    for build in builds:
        try:
            return build().to(next(model.parameters()))
        except ValueError:  # it is for other inputs
            continue
    return None
