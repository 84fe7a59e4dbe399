import torch

from mesascope.models import LinearRegression, optimal_step
from mesascope.models.inputs import Uniform
from mesascope.models.training.new_layer import fit_new_layer
from mesascope.models.training.small_form import context_grams, predicted_weights

TASK = LinearRegression(n_dims=3, n_points=9, inputs=Uniform())
EYE = torch.eye(3, dtype=torch.float64) / 3  # E x xᵀ of U(-1, 1)


def contexts(n_prompts=4096, seed=0):
    prompts = TASK.sample(n_prompts, seed=seed, dtype=torch.float64)
    return context_grams(prompts), prompts.w


def loss(maps, grams, w):
    return (predicted_weights(maps, grams) - w).square().sum(-1).mean().item() / 3


def fitted(maps, grams, w, seed=0, n_starts=2, n_rounds=8, covariance=EYE):
    layer = fit_new_layer(maps, grams, w, covariance, torch.Generator().manual_seed(seed), n_starts, n_rounds)
    return torch.cat([maps, layer[None]])


def nothing():
    return torch.zeros(0, 2, 4, 4, dtype=torch.float64)


def test_the_first_layer_is_the_best_gradient_step():
    maps = fitted(nothing(), *contexts())
    assert abs(loss(maps, *contexts(20_000, seed=1)) / optimal_step(TASK).mse - 1) < 0.03


def test_a_further_layer_never_raises_the_loss_it_is_fitted_on():
    grams, w = contexts()
    one = fitted(nothing(), grams, w)
    assert loss(fitted(one, grams, w), grams, w) < 0.9 * loss(one, grams, w)


def test_more_rounds_lower_the_loss_and_more_starts_do_not_raise_it():
    grams, w = contexts()
    by_rounds = [loss(fitted(nothing(), grams, w, n_starts=1, n_rounds=n), grams, w) for n in (1, 2, 8)]
    assert by_rounds == sorted(by_rounds, reverse=True)
    one = fitted(nothing(), grams, w)
    few, many = (loss(fitted(one, grams, w, n_starts=n, n_rounds=2), grams, w) for n in (1, 4))
    assert many <= few


def test_residuals_count_by_the_covariance_of_the_query():
    """A query that lies along one axis alone asks for that coordinate of w alone."""
    grams, w = contexts()
    along = torch.diag(torch.tensor([1.0, 1e-9, 1e-9], dtype=torch.float64))
    maps = fitted(nothing(), grams, w, covariance=along)
    isotropic = fitted(nothing(), grams, w)

    def missed(maps):
        return (predicted_weights(maps, grams) - w)[:, 0].square().mean()

    assert missed(maps) <= missed(isotropic) + 1e-9


def test_both_factors_are_of_one_size_and_only_the_last_row_of_W_PV_is_used():
    (layer,) = fitted(nothing(), *contexts())
    torch.testing.assert_close(layer[0].norm(), layer[1].norm())
    assert (layer[0, :-1] == 0).all()
