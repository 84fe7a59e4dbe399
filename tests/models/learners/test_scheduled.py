import math

import numpy as np
import pytest
import torch

from mesascope.models import GradientDescent, GradientDescentPlusPlus, LinearRegression, Momentum
from mesascope.models.inputs import Uniform
from mesascope.models.learners import Averaging, ScheduledGradientDescent
from tests.models.learners.prompts import at_every_prefix, members_of, prompts_of

ETAS = (0.3, 0.05, -0.1, 0.7)


def descend(X, y, etas):
    w = torch.zeros(X.shape[1], dtype=torch.float64)
    for eta in etas:
        w = w - eta * X.T @ (X @ w - y) / max(len(X), 1)
    return w


@pytest.mark.parametrize("n_steps", [0, 1, 2, 4])
def test_it_is_its_loop(n_steps):
    prompts = prompts_of()
    expected = at_every_prefix(prompts, lambda X, y: descend(X, y, ETAS[:n_steps]))
    # 1e-10: four steps grow rounding by Π(1 + ηλ), less than a hundred here.
    preds = ScheduledGradientDescent(ETAS[:n_steps]).predict(prompts)
    torch.testing.assert_close(preds, expected, atol=1e-10, rtol=1e-10)


def test_steps_of_one_size_are_gradient_descent_and_one_of_size_one_is_averaging():
    prompts = prompts_of()
    preds = ScheduledGradientDescent((0.2,) * 5).predict(prompts)
    torch.testing.assert_close(preds, GradientDescent(5, 0.2).predict(prompts), atol=1e-11, rtol=1e-11)
    torch.testing.assert_close(ScheduledGradientDescent((1.0,)).predict(prompts), Averaging().predict(prompts))


def test_the_order_of_the_steps_changes_the_path_and_not_its_end():
    prompts = prompts_of()
    there, back = ScheduledGradientDescent(ETAS), ScheduledGradientDescent(ETAS[::-1])
    torch.testing.assert_close(back.predict(prompts), there.predict(prompts), atol=1e-11, rtol=1e-11)
    assert not torch.allclose(back.path(prompts)[2], there.path(prompts)[2], rtol=1e-2)
    assert there.strength == back.strength == {"η1": -0.1, "η2": 0.05, "η3": 0.3, "η4": 0.7}


def test_the_response_is_the_product():
    lam = torch.linspace(0, 4, 9, dtype=torch.float64)
    expected = 1 - math.prod(1 - eta * lam for eta in ETAS)
    torch.testing.assert_close(ScheduledGradientDescent(ETAS).response(lam), expected)


def steps_of(learner, degree):
    """The step sizes whose product is another learner's residual: 1 over its roots, which must be real."""
    lam = np.polynomial.chebyshev.chebpts1(degree + 1) + 1
    residual = 1 - learner.response(torch.from_numpy(lam)).numpy()
    roots = np.roots(np.polyfit(lam, residual, degree))
    assert np.abs(roots.imag).max() < 1e-6 * np.abs(roots).max()
    return tuple((1 / roots.real).tolist())


@pytest.mark.parametrize("beta", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("n_steps", [2, 4])
def test_momentum_is_a_schedule_of_as_many_steps(beta, n_steps):
    prompts, learner = prompts_of(), Momentum(n_steps, 0.3, beta)
    schedule = ScheduledGradientDescent(steps_of(learner, n_steps))
    torch.testing.assert_close(schedule.predict(prompts), learner.predict(prompts), atol=1e-7, rtol=1e-7)


def test_two_steps_of_gd_plus_plus_are_four_of_a_schedule_if_the_second_is_large_enough():
    """What a linear transformer of two layers trained on this task is (zoo:lsa-2) has another name of four steps."""
    prompts = LinearRegression(n_dims=10, n_points=21, inputs=Uniform()).sample(4, seed=0, dtype=torch.float64)
    learner = GradientDescentPlusPlus((1.437, 11.497), (1.361, 0.0))
    schedule = ScheduledGradientDescent(steps_of(learner, 4))
    torch.testing.assert_close(schedule.predict(prompts), learner.predict(prompts), atol=1e-7, rtol=1e-7)
    with pytest.raises(AssertionError):
        steps_of(GradientDescentPlusPlus((1.437, 6.0), (1.361, 0.0)), 4)  # 4η < 27γ


def test_its_starts_are_of_two_to_four_steps_and_none_is_another():
    task = LinearRegression(n_dims=3, n_points=8)
    learners = members_of(ScheduledGradientDescent, task)
    assert {learner.n_steps for learner in learners} == {2, 3, 4}
    assert len(set(learners)) == len(learners)
    assert members_of(ScheduledGradientDescent, task) == learners  # seeded


def test_a_step_beyond_the_sizes_is_refused():
    with pytest.raises(ValueError, match=r"steps=\[1, 5\]: this learner has step sizes for 4 steps"):
        ScheduledGradientDescent(ETAS).path(prompts_of(), [1, 5])


def test_a_size_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="expected finite step sizes"):
        ScheduledGradientDescent((0.1, math.inf))


def test_its_label_has_its_sizes():
    assert ScheduledGradientDescent((0.1, 12.34)).label == "scheduled GD k=2 η=(0.1, 12.3)"
