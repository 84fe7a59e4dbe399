"""Plant every learner as if it were a model, and see whether identification finds it."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mesascope.analyses.identification.discrimination import needed
from mesascope.analyses.identification.examination import Examination
from mesascope.analyses.identification.identification import identify
from mesascope.analyses.identification.judging import EXACT, Verdict
from mesascope.analyses.identification.plants import N_DIMS, N_POOL, Plant, built, plants, tasks
from mesascope.analyses.planting import PlantedTest
from mesascope.analyses.scope import attach
from mesascope.models import (
    DiscreteMMSE,
    HookedRegressor,
    LeastSquares,
    LinearRegression,
    MesascopeError,
    RegressorConfig,
)
from mesascope.models.battery import NEGLIGIBLE, Target, rivals
from mesascope.models.errors import nearest
from mesascope.models.learners.base import Sweep
from mesascope.models.streams import generator

N_PROMPTS, N_TUNE = 600, 200
MIN_OVERALL, MIN_FAMILY = 0.97, 0.9
"""Shares of planted cases that must be recovered, over all and in each family."""
MAX_T_ERROR = 0.1
"""How far the share of a mixture may be off."""
NOISES = (0.0, 0.02, 0.1)
"""Standard deviations of what is added to the predictions, relative to theirs."""


@dataclass(frozen=True)
class Case:
    """One planted learner and what was made of it."""

    plant: Plant
    task: str
    noise: float
    verdict: Verdict
    right: bool
    why: str
    """Why a verdict that is not the planted family's name is right, or what is wrong."""

    @property
    def kind(self) -> str:
        """The planted family."""
        return self.plant.family


@dataclass(frozen=True)
class Untrained:
    """One untrained model and the names that its layers were given."""

    seed: int
    model: str
    named: tuple[str, ...]


@dataclass(frozen=True)
class SelfTest(PlantedTest[Case]):
    """Every planted learner, with the shares that decide, and every untrained model."""

    untrained: tuple[Untrained, ...] = ()
    n_single: int = 0
    """Mixtures that were not planted, since in every draw one family alone predicted them."""

    @property
    def recovered(self) -> float:
        """Share of planted cases whose verdict is right."""
        return sum(case.right for case in self.cases) / len(self.cases)

    @property
    def confusion(self) -> dict[str, Counter[str]]:
        """Verdicts by planted family; a mixture's as "mixture", whatever its share."""
        table: dict[str, Counter[str]] = {}
        for case in self.cases:
            said = case.verdict.text if case.verdict.t is None else "mixture"
            table.setdefault(case.kind, Counter())[said] += 1
        return table

    @property
    def failures(self) -> tuple[str, ...]:
        """What must not be; empty if the tool may be believed."""
        found = []
        if self.recovered < MIN_OVERALL:
            found.append(f"{self.recovered:.1%} of planted learners recovered, expected {MIN_OVERALL:.0%}")
        for family, (right, n) in self.by_kind.items():
            if right < MIN_FAMILY * n:
                found.append(f"{family}: {right} of {n} recovered, expected {MIN_FAMILY:.0%}")
        found += [
            f"untrained {u.model}, seed {u.seed}, was named {', '.join(u.named)}" for u in self.untrained if u.named
        ]
        return tuple(found)

    def data(self) -> dict[str, Any]:
        """Every case."""
        return {
            "seed": self.seed,
            "n_single": self.n_single,
            "recovered": self.recovered,
            "by_family": {family: list(counts) for family, counts in self.by_kind.items()},
            "confusion": {family: dict(row) for family, row in self.confusion.items()},
            "failures": list(self.failures),
            "untrained": [vars(u) for u in self.untrained],
            "cases": [
                {
                    "planted": case.plant.label,
                    "task": case.task,
                    "noise": case.noise,
                    "verdict": case.verdict.text,
                    "right": case.right,
                    "why": case.why,
                }
                for case in self.cases
            ],
        }


def count_cases(n_each: int, n_untrained: int, names: Sequence[str] | None = None) -> int:
    """How many learners, constructions and untrained models a selftest looks at, if every pair makes a mixture."""
    rng = generator(0, "count")
    chosen = _chosen(names).values()
    n_built = 0 if names else 2 * n_each * len(N_DIMS)
    return n_untrained + n_built + sum(len(list(plants(task, n_each, rng, lambda plant: False))) for task in chosen)


def _chosen(names: Sequence[str] | None) -> dict[str, LinearRegression]:
    every = tasks()
    for name in names or ():
        if name not in every:
            raise MesascopeError(f"no task is called {name!r}{nearest(name, every)}")
    return {name: task for name, task in every.items() if not names or name in names}


def run_selftest(
    seed: int = 0,
    n_each: int = 2,
    n_untrained: int = 20,
    names: Sequence[str] | None = None,
    on_case: Callable[[str], None] = lambda name: None,
) -> SelfTest:
    """Plant learners and mixtures on every task, constructions beside their untrained twins, and untrained models.

    A verdict is right if it names the planted family; or one that predicts the same there (within `NEGLIGIBLE`, such as
    least squares for what has converged); or is undetermined between it and families that so few prompts do not tell
    apart.

    Args:
        seed: Seed of scalars, prompts and noise.
        n_each: Learners of each family on each task.
        n_untrained: Untrained models.
        names: Tasks to plant on, see `tasks`; default all, and constructions.
        on_case: Called with each case's name before it runs.

    Raises:
        MesascopeError: There is no such task.
    """
    cases = [case for name, task in _chosen(names).items() for case in _planted(name, task, seed, n_each, on_case)]
    if not names:
        cases += _constructed(seed, n_each, on_case)
    untrained = []
    for index in range(n_untrained):
        on_case(f"untrained model {index + 1} of {n_untrained}")
        untrained.append(_untrained(seed * n_untrained + index))
    return SelfTest(tuple(cases), seed, tuple(untrained), count_cases(n_each, 0, names) - len(cases))


def _planted(
    name: str, task: LinearRegression, seed: int, n_each: int, on_case: Callable[[str], None]
) -> Iterator[Case]:
    scope = attach(LeastSquares(), task=task, seed=seed)
    pool = DiscreteMMSE(N_POOL, 0.5 * task.null_loss**0.5, task.w_std, 0)
    examination = Examination(scope, N_TUNE, [*rivals(task), Sweep(pool)])
    score = scope.prompts(N_PROMPTS, "identify")
    rng = generator(seed, "selftest", name)

    def is_single(plant: Plant) -> bool:
        """Whether one family alone explains a mixture nearly as far as a name asks for: then it is no mixture."""
        target = Target(examination.tune, examination.points, examination.counted(plant.predict(examination.tune)))
        learners = examination.contest.fit(target.preds, n_refined=1).values()
        return min(map(target.distance, learners)) * NEGLIGIBLE <= 4 * EXACT * target.floor

    for index, plant in enumerate(plants(task, n_each, rng, is_single)):
        noise = NOISES[index % len(NOISES)]
        on_case(f"{name}: {plant.label}")
        exact = plant.predict(examination.tune)
        sigma = noise * exact[:, examination.points].square().mean().sqrt().item()

        def seen(preds: Tensor, sigma: float = sigma) -> Tensor:
            return preds + sigma * torch.randn(preds.shape, generator=rng, dtype=torch.float64)

        subject = examination.enter("output", seen(exact))
        batches = [(score, [seen(plant.predict(score))])]
        (finding,) = examination.examine([subject], partial(iter, batches), N_PROMPTS)
        right, why = grade(plant, finding.verdict, examination, sigma)
        yield Case(plant, name, noise, finding.verdict, right, why)


def _constructed(seed: int, n_each: int, on_case: Callable[[str], None]) -> Iterator[Case]:
    """Models set by hand, through all of identification: unlike bare learners they have untrained twins."""
    for plant, model, task in built(n_each, generator(seed, "selftest", "constructions")):
        name = f"construction, d={task.n_dims}"
        on_case(f"{name}: {plant.label}")
        scope = attach(model, task=task, seed=seed)
        verdict = identify(scope, n_prompts=N_PROMPTS, n_tune=N_TUNE, shifts=False).output.verdict
        right, why = grade(plant, verdict, Examination(scope, N_TUNE, rivals(task)), 0.0)
        yield Case(plant, name, 0.0, verdict, right, why)


def grade(plant: Plant, verdict: Verdict, examination: Examination, sigma: float) -> tuple[bool, str]:
    """Whether a verdict on a planted learner is right, and why if it is not its name.

    Args:
        plant: What was planted.
        verdict: What was said.
        examination: Where; its tuning prompts decide who predicts the same.
        sigma: Standard deviation of the noise on the predictions.
    """
    if verdict.named and set(verdict.families) == set(plant.families):
        if len(plant.learners) == 1:
            return True, ""
        t = plant.t if verdict.families == plant.families else 1 - plant.t
        right = verdict.t is not None and abs(verdict.t - t) <= MAX_T_ERROR
        return right, "" if right else f"t is {t:.2f}"
    contest, points = examination.contest, examination.points
    target = Target(examination.tune, points, examination.counted(plant.predict(examination.tune)))
    if verdict.named and len(verdict.families) == 1:
        same = contest.fit(target.preds, among=verdict.families)[verdict.families[0]]
        if target.distance(same) <= target.floor:
            return True, f"{same.label} predicts the same"
        return False, f"{same.label} does not predict the same"
    if verdict.families and verdict.text.startswith("undetermined"):
        others = contest.fit(target.preds, among=set(verdict.families) - set(plant.families)).values()
        missed = [(target.predict(other) - target.preds).square().sum(1) for other in others]
        enough = [needed(each, target.preds.square().sum(1), sigma**2) for each in missed]
        if enough and all(n is None or n > N_PROMPTS for n in enough):
            return True, f"{N_PROMPTS} prompts do not tell them apart"
        return False, f"{enough} prompts tell them apart"
    return False, verdict.reason


def _untrained(index: int) -> Untrained:
    """One of the kinds of model that can be examined, with weights from seed `index`."""
    kinds = {
        "decoder": RegressorConfig(n_dims=4, n_points=12, n_layers=2, n_heads=2, d_model=32),
        "linear attention": RegressorConfig.linear_self_attention(n_dims=4, n_points=12, n_layers=2),
        "LSTM": RegressorConfig(n_dims=4, n_points=12, n_layers=2, n_heads=1, d_model=32, block="lstm"),
    }
    name = list(kinds)[index % len(kinds)]
    cfg = kinds[name]
    scope = attach(HookedRegressor(cfg, index), task=LinearRegression(n_dims=4, n_points=12), seed=index)
    found = identify(scope, n_prompts=400, n_tune=100, n_fit=2000, shifts=False)
    return Untrained(index, name, tuple(layer.verdict.text for layer in found.layers if layer.verdict.families))
