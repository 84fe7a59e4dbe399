import pytest
import torch

from mesascope.analyses import Similarity, attach, measure_similarity
from mesascope.analyses.similarity import Match
from mesascope.models import GradientDescent, LeastSquares, LinearRegression, NearestNeighbours, Newton, Prompts, Ridge
from mesascope.models.learners.base import Sweep

from ..conftest import WIDE, decoder

FEW = (
    Sweep(Newton(8), tuple(range(1, 9))),
    Sweep(GradientDescent(64, 0.1), (1, 4, 16, 64)),
    Sweep(GradientDescent(64, 0.01), (1, 4, 16, 64)),
    Sweep(Ridge(0.5)),
    Sweep(LeastSquares()),
    Sweep(NearestNeighbours(2)),
)
"""Rivals that are quick to compute."""

STEPS = (Sweep(GradientDescent(2, 1.0), (1, 2)), Sweep(LeastSquares()))
"""Rivals of a step of gradient descent."""


class Zero:
    def predict(self, prompts: Prompts) -> torch.Tensor:
        return torch.zeros_like(prompts.ys)


class Mean:
    """Between two learners; no family's member."""

    def predict(self, prompts: Prompts) -> torch.Tensor:
        return (Newton(3).predict(prompts) + LeastSquares().predict(prompts)) / 2


def quick(target: object, task: LinearRegression = WIDE, **options: object) -> Similarity:
    settings: dict[str, object] = {"n_prompts": 80, "n_fit": 400, "rivals": FEW} | options
    return measure_similarity(attach(target, task=task), **settings)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def newton_3() -> Similarity:
    return quick(Newton(3))


@pytest.fixture(scope="session")
def layered() -> Similarity:
    return quick(decoder(), LinearRegression(n_dims=3, n_points=8))


def match_of(result: Similarity, family: str, by: str = "errors") -> Match:
    found = next(found for found in result.comparisons if found.by == by)
    return next(match for match in found.output.matches if match.family == family)
