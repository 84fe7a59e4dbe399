"""Plant circuits in random gauges, and see whether they are found, and none in untrained models."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from mesascope.analyses.induction.induction import Induction, find_induction
from mesascope.analyses.induction.verdict import CIRCUIT, COPIES, FOLLOWS, QUERY_ONLY
from mesascope.analyses.scope import Scope
from mesascope.models import (
    HookedRegressor,
    LinearRegression,
    RegressorConfig,
    RepeatedSequence,
    Task,
    copy_then_descend,
    induction,
    optimal_step,
    regauge,
)
from mesascope.models.streams import generator

N_PROMPTS, N_ALONE, N_UNTRAINED = 100, 240, 20
"""Prompts whose attention is read in a case, the same of a model that reads one point of each, and untrained models of
each architecture."""
WANTED = f"{CIRCUIT}: copy head L1H0 feeds query head L2H0"


@dataclass(frozen=True)
class Specimen:
    """A model, the task that it is looked at with, and the circuit that it holds."""

    kind: str
    model: HookedRegressor
    task: Task
    expected: str | None
    """The verdict; None of an untrained model, which must have no circuit."""


@dataclass(frozen=True)
class CircuitCase:
    """One planted circuit, or one untrained model, and what was made of it."""

    kind: str
    expected: str | None
    verdict: str
    copy: float
    """The highest copy score."""
    query: float
    """The highest |correlation| with ⟨x_q, x_j⟩."""

    @property
    def right(self) -> bool:
        """Whether the circuit was found head by head; or whether nothing was named, nor any head near a name.

        An untrained model has no circuit for its loss alone, so its heads' scores are looked at by themselves.
        """
        if self.expected is None:
            named = self.verdict.startswith((CIRCUIT, QUERY_ONLY))
            return not named and self.copy < COPIES and self.query < FOLLOWS
        return self.verdict == self.expected


@dataclass(frozen=True)
class CircuitTest:
    """Every case."""

    cases: tuple[CircuitCase, ...]
    seed: int

    @property
    def by_kind(self) -> dict[str, tuple[int, int]]:
        """Right verdicts and cases of each kind."""
        kinds = dict.fromkeys(case.kind for case in self.cases)
        rows = {kind: [case.right for case in self.cases if case.kind == kind] for kind in kinds}
        return {kind: (sum(row), len(row)) for kind, row in rows.items()}

    @property
    def failures(self) -> tuple[str, ...]:
        """What must not be."""
        return tuple(
            f"{case.kind}: expected {case.expected or 'no circuit'}, got {case.verdict} (copy score {case.copy:.3f}, "
            f"|correlation| {case.query:.3f})"
            for case in self.cases
            if not case.right
        )

    def data(self) -> dict[str, Any]:
        """Every case."""
        return {"seed": self.seed, "failures": list(self.failures), "cases": [vars(case) for case in self.cases]}


def circuits(rng: torch.Generator) -> Iterator[Specimen]:
    """One of each kind, with sizes and scalars drawn at random; steps near the best, or there is nothing to lose."""

    def whole(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=rng))

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * torch.rand((), generator=rng).item()

    d, n = whole(3, 6), whole(14, 20)
    task = LinearRegression(n_dims=d, n_points=n)
    eta = uniform(0.8, 1.2) * optimal_step(task).eta
    yield Specimen("copy, then a step", copy_then_descend(d, n, eta), task, WANTED)
    period, vocabulary = whole(4, 8), whole(12, 20)
    n = period * whole(2, 3)
    sequences = RepeatedSequence(n_dims=vocabulary, n_points=n, period=period)
    yield Specimen("induction", induction(vocabulary, n, uniform(2.0, 4.0)), sequences, WANTED)


def untrained(seed: int) -> Iterator[Specimen]:
    """One of each architecture in which circuits form."""
    decoder = RegressorConfig(n_dims=5, n_points=12, n_layers=4, n_heads=4, d_model=48, d_mlp=96)
    regression = LinearRegression(n_dims=5, n_points=12)
    yield Specimen("untrained decoder", HookedRegressor(decoder, seed), regression, None)
    separate = copy_then_descend(5, 12, 1.0).cfg
    yield Specimen("untrained, separate tokens", HookedRegressor(separate, seed), regression, None)
    discrete = RegressorConfig(
        n_dims=16, n_points=16, n_layers=2, n_heads=4, d_model=32, d_out=16, layout="sequence", d_mlp=0
    )
    sequences = RepeatedSequence(n_dims=16, n_points=16, period=8)
    yield Specimen("untrained, discrete tokens", HookedRegressor(discrete, seed), sequences, None)


def run_circuit_test(
    seed: int = 0,
    each: int = 1,
    n_untrained: int | None = None,
    on_case: Callable[[str], None] = lambda kind: None,
) -> CircuitTest:
    """Plant each circuit in a random gauge, float32, and look at untrained models of each architecture.

    Args:
        seed: Seed of sizes, scalars, gauges, prompts and untrained weights.
        each: How many circuits of each kind.
        n_untrained: How many untrained models of each architecture; default as many, but `N_UNTRAINED` at the most.
        on_case: Called with each case's kind before it runs.
    """
    cases = []
    for index in range(each):
        for planted in circuits(generator(seed, "circuits", index)):
            on_case(planted.kind)
            cases.append(_case(planted, regauge(planted.model, seed + index), seed))
    for index in range(min(each, N_UNTRAINED) if n_untrained is None else n_untrained):
        for specimen in untrained(seed + index):
            on_case(specimen.kind)
            cases.append(_case(specimen, specimen.model, seed))
    return CircuitTest(tuple(cases), seed)


def count_circuits(each: int, n_untrained: int | None = None) -> int:
    """How many cases that is."""
    planted, drawn = len(list(circuits(generator(0, "count")))), len(list(untrained(0)))
    return each * planted + (min(each, N_UNTRAINED) if n_untrained is None else n_untrained) * drawn


def _case(specimen: Specimen, model: HookedRegressor, seed: int) -> CircuitCase:
    # A model that reads one point has one loss and one query for each prompt, and needs the more of them.
    alone = len(model.read_points(specimen.task.n_points)) == 1
    found: Induction = find_induction(
        Scope(model, specimen.task, specimen.kind, seed),
        n_prompts=N_ALONE if alone else N_PROMPTS,
        n_scored=None if alone else N_PROMPTS,
        weigh=False,
    )
    copy = max((head.copy.score.value for head in found.heads if head.copy is not None), default=0.0)
    query = max(head.query.strength for head in found.heads)
    return CircuitCase(specimen.kind, specimen.expected, found.verdict, copy, query)
