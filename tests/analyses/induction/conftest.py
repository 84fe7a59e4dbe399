from collections.abc import Iterator

import pytest

from mesascope.analyses import attach, scope
from mesascope.analyses.induction import Induction, find_induction
from mesascope.models import (
    LinearRegression,
    RepeatedSequence,
    copy_then_descend,
    gradient_descent,
    induction,
    optimal_step,
    regauge,
)

TASK = LinearRegression(n_dims=3, n_points=15)
SEQUENCES = RepeatedSequence(n_dims=12, n_points=12, period=4)


@pytest.fixture(scope="package", autouse=True)
def two_twins() -> Iterator[None]:
    """Two untrained twins instead of five: planted heads are far beyond any."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scope, "N_TWINS", 2)
        yield


@pytest.fixture(scope="package")
def copied(two_twins: None) -> Induction:
    """A copy of the neighbour and then a gradient step, in another gauge."""
    model = copy_then_descend(3, 15, optimal_step(TASK).eta)
    return find_induction(attach(regauge(model, 1), task=TASK), n_prompts=200, n_scored=400)


@pytest.fixture(scope="package")
def discrete(two_twins: None) -> Induction:
    """Induction as a gradient step, in another gauge."""
    model = regauge(induction(12, 12, 3.0), 2)
    return find_induction(attach(model, task=SEQUENCES), n_prompts=60, n_scored=100)


@pytest.fixture(scope="package")
def stepped(two_twins: None) -> Induction:
    """A gradient step on tokens that hold x and y."""
    model = gradient_descent(3, 15, [optimal_step(TASK).eta])
    return find_induction(attach(model, task=TASK), n_prompts=200, n_scored=400)
