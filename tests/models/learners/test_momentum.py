import numpy as np
import pytest
import torch

from mesascope.models import GradientDescent, LeastSquares, LinearRegression
from mesascope.models.learners import Averaging, Momentum
from tests.models.learners.prompts import at_every_prefix, members_of, prompts_of


def roll(X, y, n_steps, eta, beta):
    before = w = torch.zeros(X.shape[1], dtype=torch.float64)
    for _ in range(n_steps):
        gradient = X.T @ (X @ w - y) / max(len(X), 1)
        before, w = w, w - eta * gradient + beta * (w - before)
    return w


# λ_max is about 3 here: η = .8 with little momentum overshoots, and the iterates grow.
@pytest.mark.parametrize("eta, beta", [(0.05, 0.3), (0.1, 0.9), (0.8, 0.1)])
@pytest.mark.parametrize("n_steps", [0, 1, 2, 7, 60])
def test_it_is_its_loop(n_steps, eta, beta):
    prompts = prompts_of()
    expected = at_every_prefix(prompts, lambda X, y: roll(X, y, n_steps, eta, beta))
    preds = Momentum(n_steps, eta, beta).predict(prompts)
    torch.testing.assert_close(preds, expected, atol=1e-10, rtol=1e-8)  # relative: a diverging one is huge


def test_without_momentum_it_is_gradient_descent_and_one_step_of_size_one_averages():
    prompts = prompts_of()
    expected = GradientDescent(9, 0.2).predict(prompts)
    torch.testing.assert_close(Momentum(9, 0.2, 1e-12).predict(prompts), expected, atol=1e-9, rtol=1e-9)
    assert not torch.allclose(Momentum(9, 0.2, 0.3).predict(prompts), expected, rtol=1e-2)
    torch.testing.assert_close(Momentum(1, 1.0, 0.7).predict(prompts), Averaging().predict(prompts))


def test_many_steps_end_at_least_squares():
    prompts = prompts_of(kappa=3.0)
    late = slice(8, None)  # before, some prefix has an eigenvalue too small for 3000 steps
    preds = Momentum(3000, 0.2, 0.9).predict(prompts)
    torch.testing.assert_close(preds[:, late], LeastSquares().predict(prompts)[:, late], atol=1e-9, rtol=0)


def test_the_residual_obeys_its_three_term_recursion():
    lam = torch.linspace(0, 4, 9, dtype=torch.float64)
    r = [1 - Momentum(k, 0.3, 0.6).response(lam) for k in (3, 4, 5)]
    torch.testing.assert_close(r[2], (1 + 0.6 - 0.3 * lam) * r[1] - 0.6 * r[0])


def test_a_rolling_ball_is_a_larger_step():
    """τ = ηk/(1−β): on an eigenvalue so small that g is linear, once the first steps count for little."""
    lam = torch.full((1,), 1e-9, dtype=torch.float64)
    momentum, plain = Momentum(2000, 0.1, 0.9), GradientDescent(2000, 1.0)
    assert momentum.strength["τ"] == pytest.approx(plain.strength["τ"])
    torch.testing.assert_close(momentum.response(lam), plain.response(lam), rtol=0.01, atol=0)


def test_its_free_scalars_are_a_log_and_a_logit():
    learner = Momentum(3, 0.1, 0.75)
    np.testing.assert_allclose(learner.parameters(), [np.log(0.1), np.log(3)])
    moved = learner.with_parameters(np.array([0.0, 0.0]))
    assert (moved.n_steps, moved.eta, moved.beta) == (3, 1.0, 0.5)


def test_its_grid_leaves_a_single_step_to_gradient_descent():
    members = members_of(Momentum, LinearRegression(n_dims=3, n_points=8))
    assert min(member.n_steps for member in members) == 2
    assert len(set(members)) == len(members)


@pytest.mark.parametrize("arguments", [(-1, 0.1, 0.5), (3, 0.0, 0.5), (3, 0.1, 0.0), (3, 0.1, 1.0), (3, 0.1, np.nan)])
def test_impossible_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match="expected n_steps >= 0, eta > 0 and 0 < beta < 1; use GradientDescent for 0"):
        Momentum(*arguments)
