"""Plant circuits in random gauges, and see whether they are found, and none in untrained models."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from mesascope.analyses.induction.circuit import CIRCUIT, QUERY_ONLY
from mesascope.analyses.induction.induction import Induction, find_induction
from mesascope.analyses.induction.verdict import COPIES, FOLLOWS
from mesascope.analyses.planting import Draw, PlantedTest
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
class CircuitTest(PlantedTest[CircuitCase]):
    """Every planted circuit and every untrained model."""

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


def circuits(rng: torch.Generator, gauge: int = 0) -> Iterator[Specimen]:
    """One of each kind in a random gauge, sizes and scalars drawn; steps near the best, or there is nothing to lose.

    Args:
        rng: What sizes and scalars are drawn with.
        gauge: Seed of the gauge.
    """
    draw = Draw(rng)
    d, n = draw.whole(3, 6), draw.whole(14, 20)
    task = LinearRegression(n_dims=d, n_points=n)
    eta = draw.uniform(0.8, 1.2) * optimal_step(task).eta
    model = regauge(copy_then_descend(d, n, eta), gauge)
    yield Specimen("copy, then a step", model, task, WANTED)
    yield Specimen("copy, then a step, beside heads that nobody reads", with_idle_heads(model), task, WANTED)
    period, vocabulary = draw.whole(4, 8), draw.whole(12, 20)
    n = period * draw.whole(2, 3)
    sequences = RepeatedSequence(n_dims=vocabulary, n_points=n, period=period)
    yield Specimen("induction", regauge(induction(vocabulary, n, draw.uniform(2.0, 4.0)), gauge), sequences, WANTED)


@torch.no_grad()
def with_idle_heads(model: HookedRegressor) -> HookedRegressor:
    """Give each head of `copy_then_descend` a double that attends as it does, and writes where nobody reads.

    The slots of the position code are read by the first layer alone: what is added to them there, nobody sees.

    Args:
        model: Such a model, in any gauge of its heads.
    """
    cfg = RegressorConfig.model_validate(model.cfg.model_dump() | {"n_heads": 2 * model.cfg.n_heads})
    doubled = HookedRegressor(cfg).to(next(model.parameters()))
    width = cfg.d_model - cfg.d_position
    for own, both in zip(model.attentions, doubled.attentions, strict=True):
        idle = torch.zeros_like(own.W_O)
        idle[..., width : 2 * width] = own.W_O[..., :width]
        for mine, theirs in ((own.W_Q, both.W_Q), (own.W_K, both.W_K), (own.W_V, both.W_V)):
            theirs.copy_(torch.cat([mine, mine]))
        both.W_O.copy_(torch.cat([own.W_O, idle]))
    return doubled


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
        for planted in circuits(generator(seed, "circuits", index), seed + index):
            on_case(planted.kind)
            cases.append(_case(planted, seed))
    for index in range(min(each, N_UNTRAINED) if n_untrained is None else n_untrained):
        for specimen in untrained(seed + index):
            on_case(specimen.kind)
            cases.append(_case(specimen, seed))
    return CircuitTest(tuple(cases), seed)


def count_circuits(each: int, n_untrained: int | None = None) -> int:
    """How many cases that is."""
    planted, drawn = len(list(circuits(generator(0, "count")))), len(list(untrained(0)))
    return each * planted + (min(each, N_UNTRAINED) if n_untrained is None else n_untrained) * drawn


def _case(specimen: Specimen, seed: int) -> CircuitCase:
    # A model that reads one point has one loss and one query for each prompt, and needs the more of them.
    alone = len(specimen.model.read_points(specimen.task.n_points)) == 1
    found: Induction = find_induction(
        Scope(specimen.model, specimen.task, specimen.kind, seed),
        n_prompts=N_ALONE if alone else N_PROMPTS,
        n_scored=None if alone else N_PROMPTS,
        weigh=False,
    )
    copy = max((head.copy.score.value for head in found.heads if head.copy is not None), default=0.0)
    query = max(head.query.strength for head in found.heads)
    return CircuitCase(specimen.kind, specimen.expected, found.verdict, copy, query)
