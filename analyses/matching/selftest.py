"""Plant every construction in a random gauge, and see whether its weights are found."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, get_args

import torch
from torch import Tensor

from mesascope.analyses.matching.matching import Matching, match_weights
from mesascope.analyses.planting import Draw, PlantedTest
from mesascope.analyses.scope import Scope
from mesascope.models import (
    HookedRegressor,
    LinearRegression,
    copy_then_descend,
    descend_on_weights,
    gd_plus_plus,
    gradient_descent,
    induction,
    newton,
    preconditioned_gradient_descent,
    regauge,
)
from mesascope.models.constructions.newton_schulz import NewtonForm
from mesascope.models.inputs import random_bases
from mesascope.models.streams import generator

MAX_DISTANCE, MAX_ERROR = 1e-5, 1e-4
"""Distance and relative error of the scalars that float32 weights must be found within."""


@dataclass(frozen=True)
class Planted:
    """A construction, what it is called, and the scalars that its weights hold."""

    kind: str
    model: HookedRegressor
    name: str
    scalars: dict[str, list[float]]
    """By symbol, one a layer; of a construction that is matched whole one in all."""
    preconditioners: list[Tensor] = field(default_factory=list)
    """η A of each layer."""


@dataclass(frozen=True)
class ConstructionCase:
    """One planted construction, or one model of random weights, and what was made of it."""

    kind: str
    expected: str | None
    """The name; None of random weights, which must have none."""
    verdict: str
    distance: float
    error: float
    """The largest relative error of a scalar, or of η A by its norm."""

    @property
    def right(self) -> bool:
        """Whether the name is right and the numbers are within rounding; or whether nothing was named."""
        if self.expected is None:
            return self.verdict == ""
        return self.verdict == self.expected and self.distance <= MAX_DISTANCE and self.error <= MAX_ERROR


@dataclass(frozen=True)
class ConstructionTest(PlantedTest[ConstructionCase]):
    """Every planted construction and every model of random weights."""

    @property
    def failures(self) -> tuple[str, ...]:
        """What must not be."""
        return tuple(
            f"{case.kind}: expected {case.expected or 'no name'}, got {case.verdict or 'none'} at distance "
            f"{case.distance:.1e}, scalars {case.error:.1e} off"
            for case in self.cases
            if not case.right
        )

    def data(self) -> dict[str, Any]:
        """Every case."""
        return {"seed": self.seed, "failures": list(self.failures), "cases": [vars(case) for case in self.cases]}


def constructions(rng: torch.Generator) -> Iterator[Planted]:
    """One of each kind, with sizes and scalars drawn at random."""
    draw = Draw(rng)

    def several(n: int) -> list[float]:
        return [draw.uniform(0.1, 2.0) for _ in range(n)]

    def steps(n: int, family: str) -> str:
        return f"{n} step{'s' if n > 1 else ''} of {family}"

    d, t, n = draw.whole(3, 6), draw.whole(6, 14), draw.whole(1, 4)
    etas, w0 = several(n), torch.randn(d, generator=rng)
    yield Planted("GD", gradient_descent(d, t, etas), steps(n, "GD"), {"η": etas})
    from_w0 = {"η": etas, "|W0|": [w0.norm().item()] * n}
    yield Planted("GD from W0", gradient_descent(d, t, etas, w0=w0), steps(n, "GD"), from_w0)
    yield Planted("GD, two outputs", gradient_descent(d, t, etas, d_out=2), steps(n, "GD"), {"η": etas})
    n = max(n, 2)
    etas, gammas = several(n), several(n)
    corrected = {"η": etas, "γ": gammas[:-1]}  # nobody reads the last
    yield Planted("GD++", gd_plus_plus(d, t, etas, gammas), steps(n, "GD++"), corrected)
    bases = random_bases(n, d, rng)
    matrices = [eta * (U * torch.logspace(-1, 0, d).double()) @ U.T for eta, U in zip(etas, bases, strict=True)]
    preconditioned = preconditioned_gradient_descent(t, matrices)
    yield Planted("preconditioned GD", preconditioned, steps(n, "preconditioned GD"), {}, matrices)
    eta = draw.uniform(0.1, 2.0)
    yield Planted("copy", copy_then_descend(d, t, eta), "neighbour copy, then 1 step of GD", {"η": [eta]})
    yield Planted("induction", induction(d, t, eta), "induction as 1 step of GD", {"η": [eta]})
    n = draw.whole(1, 3)
    on_w = descend_on_weights(d, t, [eta] * n)
    yield Planted("GD on w", on_w, f"{steps(n, 'GD')} on w (scratch tokens)", {"η": [eta]})
    alpha, k = math.exp(draw.uniform(-6.0, -2.0)), draw.whole(1, 3)
    for form in get_args(NewtonForm):
        said = form.replace("_", " ")
        yield Planted(f"Newton, {said}", newton(d, t, k, alpha, form), steps(k, f"Newton ({said})"), {"α": [alpha]})


def run_construction_test(
    seed: int = 0, n_each: int = 1, on_case: Callable[[str], None] = lambda kind: None
) -> ConstructionTest:
    """Plant each construction in a random gauge, float32, and random weights in its architecture.

    Args:
        seed: Seed of sizes, scalars, gauges and random weights.
        n_each: How many of each kind.
        on_case: Called with each case's kind before it runs.
    """
    cases = []
    for index in range(n_each):
        for planted in constructions(generator(seed, "constructions", index)):
            on_case(planted.kind)
            found = _matched(regauge(planted.model, seed + index), seed)
            cases.append(_graded(planted, found))
            on_case(f"random weights in the place of {planted.kind}")
            found = _matched(of_the_same_norm(planted.model, generator(seed, "random weights", index)), seed)
            cases.append(ConstructionCase("random weights", None, _name(found), _distance(found), 0.0))
    return ConstructionTest(tuple(cases), seed)


def count_constructions(n_each: int) -> int:
    """How many cases that is."""
    return 2 * n_each * len(list(constructions(generator(0, "count"))))


@torch.no_grad()
def of_the_same_norm(model: HookedRegressor, rng: torch.Generator) -> HookedRegressor:
    """A model of the same architecture, each of its weights normal with the norm that it had."""
    random = HookedRegressor(model.cfg)
    for mine, theirs in zip(random.parameters(), model.parameters(), strict=True):
        draw = torch.randn(mine.shape, generator=rng)
        mine.copy_(draw * theirs.norm() / draw.norm().clamp(min=1e-30))
    return random


def _matched(model: HookedRegressor, seed: int) -> Matching:
    # Not by `attach`: no task has several outputs, and weights need none.
    task = LinearRegression(n_dims=model.cfg.n_dims, n_points=model.cfg.n_points)
    return match_weights(Scope(model, task, "planted", seed))


def _name(found: Matching) -> str:
    """The name that all weights are given together; empty if there is none."""
    named = found.family is not None or (found.whole is not None and found.whole.named)
    return found.verdict if named else ""


def _distance(found: Matching) -> float:
    if found.whole is not None and (found.whole.named or not found.layers):
        return found.whole.distance
    return max((layer.best.distance.value for layer in found.layers if layer.best is not None), default=1.0)


def _graded(planted: Planted, found: Matching) -> ConstructionCase:
    best = [layer.best for layer in found.layers if layer.best is not None]
    errors = [0.0]
    for match, A in zip(best, planted.preconditioners, strict=False):
        errors.append(((match.preconditioner[: len(A), : len(A)] - A).norm() / A.norm()).item())
    errors += [math.inf] * (len(best) < len(planted.preconditioners))
    for symbol, values in planted.scalars.items():
        if found.whole is not None and found.whole.named:
            got = [found.whole.scalar]
        else:
            got = [match.scalars[symbol].value for match in best if symbol in match.scalars]
        errors += [abs(value / truth - 1) for value, truth in zip(got, values, strict=False)]
        errors += [math.inf] * (len(got) < len(values))
    return ConstructionCase(planted.kind, planted.name, _name(found), _distance(found), max(errors))
