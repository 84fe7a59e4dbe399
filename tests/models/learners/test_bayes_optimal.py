import pytest
import torch

from mesascope.models import (
    GradientDescent,
    LeastSquares,
    LinearRegression,
    MesascopeError,
    Newton,
    QuadraticRegression,
    Ridge,
    bayes_optimal,
)


def test_it_is_ridge_at_the_ratio_of_variances_and_least_squares_without_noise():
    assert bayes_optimal(LinearRegression(noise_std=0.6, w_std=2.0)) == Ridge((0.6 / 2.0) ** 2)
    assert bayes_optimal(LinearRegression()) == LeastSquares()


@pytest.mark.parametrize("noise_std", [0.0, 0.7])
def test_no_rival_is_better(noise_std):
    task = LinearRegression(n_dims=4, n_points=9, noise_std=noise_std)
    prompts = task.sample(4000, seed=0, dtype=torch.float64)
    rivals = [Ridge(0.1), Ridge(2.0), GradientDescent(3, 0.3), GradientDescent(40, 0.2), Newton(6)]

    def loss(learner):
        return (learner.predict(prompts) - prompts.ys).square().mean().item()

    assert loss(bayes_optimal(task)) <= min(map(loss, rivals))


def test_a_task_without_a_closed_form_is_refused():
    with pytest.raises(MesascopeError, match="no closed form .* on quadratic_regression; expected linear_regression"):
        bayes_optimal(QuadraticRegression())
