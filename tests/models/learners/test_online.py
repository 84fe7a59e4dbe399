import pytest
import torch

from mesascope.models import GradientDescent, LinearRegression, Prompts
from mesascope.models.inputs import OneHot
from mesascope.models.learners import LeastSquares, OnlineGradientDescent
from tests.models.learners.prompts import at_every_prefix, members_of, prompts_of


@pytest.mark.parametrize("eta", [0.01, 0.1, 0.6])
def test_it_is_its_loop(eta):
    def learn(X, y):
        w = torch.zeros(X.shape[1], dtype=torch.float64)
        for x_i, y_i in zip(X, y, strict=True):
            w = w - eta * (torch.outer(x_i, x_i) @ w - y_i * x_i)  # as Fu et al. write it
        return w

    prompts = prompts_of()
    expected = at_every_prefix(prompts, learn)
    torch.testing.assert_close(OnlineGradientDescent(eta).predict(prompts), expected, atol=1e-11, rtol=1e-10)


def test_the_order_of_the_points_matters():
    prompts = prompts_of()
    index = torch.tensor([*reversed(range(11)), 11])
    turned = Prompts(prompts.xs[:, index], prompts.ys[:, index])
    learner = OnlineGradientDescent(0.2)
    assert not torch.allclose(learner.predict(turned)[:, -1], learner.predict(prompts)[:, -1], rtol=1e-2)


def test_a_small_step_is_one_of_batch_gradient_descent():
    prompts = prompts_of()
    preds, expected = (learner.predict(prompts) for learner in (OnlineGradientDescent(1e-6), step(1e-6)))
    torch.testing.assert_close(preds, expected, rtol=1e-3, atol=0)  # up to η² Σ|x|², a ten-thousandth


def step(eta):
    return GradientDescent(1, eta, "sum")


def test_on_orthogonal_points_a_step_of_one_remembers_everything():
    """One-hot x: each point sets its coordinate, as the latest label; noise-free that is least squares."""
    prompts = LinearRegression(n_dims=4, n_points=12, inputs=OneHot(n_dims=4)).sample(5, seed=0, dtype=torch.float64)
    torch.testing.assert_close(OnlineGradientDescent(1.0).predict(prompts), LeastSquares().predict(prompts))


def test_its_grid_is_in_units_of_the_length_of_x():
    tasks = [LinearRegression(n_dims=d, n_points=8) for d in (2, 8)]
    grids = [[learner.eta for learner in members_of(OnlineGradientDescent, task)] for task in tasks]
    assert len(grids[0]) == 12
    assert grids[0] == pytest.approx([4 * eta for eta in grids[1]])


@pytest.mark.parametrize("eta", [0.0, -0.1, float("nan")])
def test_a_step_that_is_not_positive_is_refused(eta):
    with pytest.raises(ValueError, match="expected eta > 0"):
        OnlineGradientDescent(eta)
