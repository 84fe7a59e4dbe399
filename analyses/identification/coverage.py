"""How often the 95% intervals of an identification hold the truth, on planted learners where it is known."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from mesascope.analyses.identification.examination import Examination
from mesascope.analyses.identification.selftest import Plant
from mesascope.analyses.identification.strength import measure_share, measure_strength
from mesascope.analyses.scope import attach
from mesascope.models import Learner, LeastSquares, LinearRegression
from mesascope.models.battery import Target, refine, refine_mixtures, rivals
from mesascope.models.streams import generator
from mesascope.probes import Estimate


@dataclass(frozen=True)
class Coverage:
    """Repetitions whose interval holds the truth."""

    planted: str
    quantity: str
    truth: float
    covered: int
    n: int

    @property
    def share(self) -> float:
        """Of all repetitions; .95 is asked."""
        return self.covered / self.n


def measure_coverage(
    plant: Plant,
    task: LinearRegression,
    n: int = 200,
    noise: float = 0.1,
    n_prompts: int = 256,
    seed: int = 0,
    on_repetition: Callable[[int], None] = lambda index: None,
) -> tuple[Coverage, ...]:
    """Plant the same learner, or mixture, again and again on other prompts with other noise.

    Of a single learner its strengths, such as τ; of a mixture its share t.

    Args:
        plant: What is planted; its family is fitted anew in every repetition, its steps too.
        task: On which task.
        n: Repetitions.
        noise: Standard deviation of what is added to the predictions, relative to theirs.
        n_prompts: Prompts to fit on in each.
        seed: Seed of it all.
        on_repetition: Called with the number of each.
    """
    sweeps = [sweep for sweep in rivals(task) if sweep.learner.family in plant.families]
    size = plant.predict(task.sample(2_000, seed=seed, stream="size", dtype=torch.float64))[:, 1:].square().mean()
    found: dict[str, list[bool]] = {}
    truths: dict[str, float] = {}
    for index in range(n):
        on_repetition(index)
        scope = attach(LeastSquares(), task=task, seed=seed + 1 + index)
        examination = Examination(scope, n_prompts, sweeps)
        rng = generator(seed, "coverage", index)

        def seen(preds: torch.Tensor, rng: torch.Generator = rng) -> torch.Tensor:
            return preds + noise * size.sqrt() * torch.randn(preds.shape, generator=rng, dtype=torch.float64)

        subject = examination.enter("output", seen(plant.predict(examination.tune)))
        target = Target(examination.tune, examination.points, subject.tune)
        for quantity, estimate, truth in _estimates(plant, subject.candidates.learners, target):
            found.setdefault(quantity, []).append(estimate.low <= truth <= estimate.high)
            truths[quantity] = truth
    return tuple(Coverage(plant.label, name, truths[name], sum(hits), n) for name, hits in found.items())


def _estimates(plant: Plant, learners: dict[str, Learner], target: Target) -> list[tuple[str, Estimate, float]]:
    if len(plant.learners) > 1:
        a, b = plant.learners
        ((one, other),) = refine_mixtures([(a, b)], target)
        return [("t", measure_share(one, other, target), plant.t)]
    strengths = measure_strength(refine(learners[plant.family], target, worth=0.0), target)
    truth = plant.learners[0].strength
    return [(symbol, strengths[symbol], truth[symbol]) for symbol in truth if symbol in strengths]
