"""Prompts that tell given rivals apart: of many spectra, lengths and scales, those with the worst pair farthest."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from mesascope.analyses.identification.contest import Contest
from mesascope.analyses.identification.discrimination import Discrimination, discriminate
from mesascope.models import Learner, LinearRegression, MesascopeError, battery
from mesascope.models.inputs import Gaussian
from mesascope.models.spectra import Isotropic, LogUniform, TwoLevel

N_PROMPTS = 128
SPECTRA = (Isotropic(), LogUniform(kappa=10), LogUniform(kappa=100), LogUniform(kappa=1000), TwoLevel(ratio=100))
NOISES, SCALES = (0.1,), (0.5, 2.0)
"""Noise relative to the standard deviation of y, and scales of x."""


@dataclass(frozen=True)
class Design:
    """The suite that was chosen, and what every candidate promised."""

    name: str
    task: LinearRegression
    discrimination: Discrimination
    shares: dict[str, float]
    """By candidate, what the best imitation of the worst pair leaves unexplained: the larger, the fewer prompts."""

    def __str__(self) -> str:
        return f"{self.name}: {self.discrimination.hardest or 'one rival alone'}"


def candidates(task: LinearRegression) -> dict[str, LinearRegression]:
    """The task itself, then other spectra, noise, scale of x and length."""
    scale = task.inputs.mean_square**0.5
    y_std = (task.null_loss - task.noise_std**2) ** 0.5
    found = {"the task itself": task}
    for spectrum in SPECTRA:
        spread = task.model_copy(update={"inputs": Gaussian(spectrum=spectrum, scale=scale)})
        found[f"spectrum {spectrum.kind}{_condition(spectrum)}"] = spread
    wide = found["spectrum log_uniform(100)"]
    for noise in NOISES:
        found[f"log_uniform(100), noise {noise:g}"] = wide.model_copy(update={"noise_std": noise * y_std})
    for factor in SCALES:
        inputs = wide.inputs.model_copy(update={"scale": factor * scale})
        found[f"log_uniform(100), x times {factor:g}"] = wide.model_copy(update={"inputs": inputs})
    if task.n_points >= 6:
        half = task.n_points // 2
        found[f"log_uniform(100), {half} points"] = wide.model_copy(update={"n_points": half})
    return found


def _condition(spectrum: object) -> str:
    value = getattr(spectrum, "kappa", getattr(spectrum, "ratio", None))
    return "" if value is None else f"({value:g})"


def design_prompts(
    rivals: Sequence[Learner], task: LinearRegression, seed: int = 0, points: Sequence[int] | None = None
) -> Design:
    """The suite on which the two rivals that are hardest to tell apart are farthest from each other.

    Each rival is planted as if it were the model; the others may refit their scalars and steps to it.

    Args:
        rivals: One learner of each family that is to be told apart.
        task: What the suites are varied from.
        seed: Seed of the prompts that suites are tried on.
        points: Points that a model predicts at; default all but the first. Negative ones count from the end.

    Raises:
        MesascopeError: There are fewer than two families.
    """
    learners = {learner.family: learner for learner in rivals}
    if len(learners) < 2:
        raise MesascopeError(f"design_prompts got rivals of {list(learners) or 'no family'}; expected two or more")
    found = {}
    for name, candidate in candidates(task).items():
        prompts = candidate.sample(N_PROMPTS, seed=seed, stream="design", dtype=torch.float64)
        wanted = (
            range(1, candidate.n_points)
            if points is None
            else sorted({t % candidate.n_points for t in points if abs(t) < candidate.n_points} - {0})
        )
        members = [sweep for sweep in battery.rivals(candidate) if sweep.learner.family in learners]
        contest = Contest(prompts, list(wanted), members)
        near = contest.target(next(iter(learners.values())))
        found[name] = candidate, discriminate(contest, learners, near)
    best = max(found, key=lambda name: found[name][1].worst)
    chosen, discrimination = found[best]
    return Design(best, chosen, discrimination, {name: plan.worst for name, (_, plan) in found.items()})
