"""What must change nothing of an identification."""

from typing import Any

import pytest
import torch

from mesascope.analyses import attach, identify, scope
from mesascope.analyses.leaks import N_LEAK
from mesascope.models import GradientDescent, LinearRegression, NearestNeighbours, Newton, Prompts
from tests.models.learners.prompts import rotated

from ..conftest import WIDE
from .quickly import Made, quick, some


class Rotated(LinearRegression):
    """The same prompts in other coordinates."""

    def sample(self, *args, **options):
        return rotated(super().sample(*args, **options), seed=1)


class Scaled(LinearRegression):
    """The same prompts with y in other units."""

    def sample(self, *args, **options):
        prompts = super().sample(*args, **options)
        return Prompts(prompts.xs, -100 * prompts.ys, prompts.w)


class Permuted(LinearRegression):
    """The same points in another order."""

    def sample(self, *args, **options):
        prompts = super().sample(*args, **options)
        order = torch.randperm(prompts.n_points, generator=torch.Generator().manual_seed(0))
        return Prompts(prompts.xs[:, order], prompts.ys[:, order], prompts.w)


@pytest.mark.slow
@pytest.mark.parametrize("other", [Rotated, Scaled, Permuted])
@pytest.mark.parametrize("learner", [Newton(3), GradientDescent(9, 0.11), NearestNeighbours(2)], ids=repr)
def test_coordinates_units_and_order_change_no_verdict(other, learner):
    plain, moved = (quick(learner, cls(**WIDE.model_dump())) for cls in (LinearRegression, other))
    assert moved.verdict == plain.verdict == learner.family
    assert moved.output.learner.strength == pytest.approx(plain.output.learner.strength, rel=1e-3)
    if other is not Permuted:  # other prefixes are other prompts
        one, two = ([m.unexplained.value for m in r.output.evidence.matches] for r in (plain, moved))
        assert two == pytest.approx(one, rel=1e-3, abs=1e-9)


@pytest.mark.parametrize("n", [37, 100])
def test_scoring_in_several_batches_equals_scoring_in_one(monkeypatch, newton_3, n):
    monkeypatch.setattr(scope, "BATCH", n)
    parts = quick(Newton(3))
    assert parts.verdict == newton_3.verdict
    pairs = zip(parts.output.evidence.matches, newton_3.output.evidence.matches, strict=True)
    for one, other in pairs:
        assert one.family == other.family
        assert one.unexplained.value == pytest.approx(other.unexplained.value, rel=1e-9, abs=1e-15)
        # Other blocks of prompts are resampled.
        assert one.unexplained.low == pytest.approx(other.unexplained.low, rel=0.1, abs=1e-15)
    assert parts.output.evidence.skill.value == pytest.approx(newton_3.output.evidence.skill.value)


def test_memory_is_bounded_whatever_the_number_of_prompts(monkeypatch):
    monkeypatch.setattr(scope, "BATCH", 50)
    seen: list[int] = []

    def predict(prompts):
        seen.append(len(prompts))
        return Newton(3).predict(prompts)

    quick(Made(predict), n_prompts=230, n_tune=50)
    assert max(seen) <= 50 and sum(size for size in seen if size != N_LEAK) == 280


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(newton_3):
    assert quick(Newton(3)).data() == newton_3.data()
    other = quick(Newton(3), seed=1)
    assert other.seed == 1 and other.verdict == "Newton"
    assert other.output.evidence.matches[1].unexplained.value != newton_3.output.evidence.matches[1].unexplained.value


def test_a_scope_is_examined_once_for_the_same_settings():
    seen = attach(Newton(3), task=WIDE)
    options: dict[str, Any] = {"n_prompts": 60, "n_tune": 60, "rivals": some(WIDE), "shifts": False}
    assert identify(seen, **options) is identify(seen, **options)
    assert identify(seen, **options) is not identify(seen, **(options | {"n_prompts": 61}))
