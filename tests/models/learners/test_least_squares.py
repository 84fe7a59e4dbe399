import numpy as np
import pytest
import sklearn.linear_model
import torch

from mesascope.models import LeastSquares, Prompts, Ridge
from tests.models.learners.prompts import at_every_prefix, prompts_of


def lstsq(X, y):
    """Minimum-norm least squares by NumPy."""
    return torch.from_numpy(np.linalg.lstsq(X.numpy(), y.numpy(), rcond=None)[0])


def assert_close_to_lstsq(prompts, tolerance):
    expected = at_every_prefix(prompts, lstsq)
    error = (LeastSquares().predict(prompts) - expected).abs()
    assert (error / (1 + expected.abs())).max() < tolerance


# 1e-9 at every prefix, t = d included, where S alone would lose half the digits; κ = 100 makes it hard.
@pytest.mark.parametrize("n_dims, n_points", [(1, 4), (2, 6), (5, 15), (8, 5), (12, 30), (20, 41)])
@pytest.mark.parametrize("kappa", [1.0, 100.0])
def test_least_squares_is_numpys_at_every_prefix(n_dims, n_points, kappa):
    assert_close_to_lstsq(prompts_of(n_dims, n_points, n_prompts=8, kappa=kappa), tolerance=1e-9)


@pytest.mark.parametrize("n_dims", [4, 12])
def test_repeated_points_with_other_labels_are_no_obstacle(n_dims):
    prompts = prompts_of(n_dims, 3 * n_dims)
    xs = prompts.xs.clone()
    xs[:, 1::2] = xs[:, 0::2][:, : xs[:, 1::2].shape[1]]
    assert_close_to_lstsq(Prompts(xs, prompts.ys), tolerance=1e-9)


def test_points_in_a_subspace_get_the_minimum_norm_solution():
    prompts = prompts_of(8, 24)
    xs = prompts.xs.clone()
    xs[..., 3:] = 0
    assert_close_to_lstsq(Prompts(xs, prompts.ys), tolerance=1e-9)
    assert (LeastSquares().weights(Prompts(xs, prompts.ys))[..., 3:].abs() < 1e-12).all()


@pytest.mark.parametrize("n_dims", [5, 20])
def test_no_digits_are_lost_where_there_are_as_many_points_as_dimensions(n_dims):
    """At t = d, 200 prompts, κ = 100, measured: 4e-13, as LAPACK's own solver; 1e-9 to 6e-9 through S."""
    prompts = prompts_of(n_dims, n_dims + 1, n_prompts=200, kappa=100.0, noise_std=0.0)
    assert (LeastSquares().predict(prompts) - prompts.ys)[:, -1].abs().max() < 1e-11


def test_a_small_point_before_a_large_one_is_learned_from():
    """Measured before the running sums were shifted: relative error .3 at t = 1."""
    prompts = prompts_of(12, 4)
    scale = torch.tensor([1.0, 1e7, 1.0, 1.0], dtype=torch.float64)[:, None]
    early = Prompts(prompts.xs * scale, prompts.ys)
    expected = at_every_prefix(early, lstsq)
    torch.testing.assert_close(LeastSquares().predict(early)[:, 1], expected[:, 1], rtol=1e-9, atol=0)


def test_without_noise_w_is_found_once_there_are_enough_points_and_not_before():
    prompts = prompts_of(5, 10, noise_std=0.0)
    assert prompts.w is not None
    error = (LeastSquares().weights(prompts) - prompts.w[:, None]).norm(dim=-1)
    assert error[:, 5:].max() < 1e-9
    assert error[:, :5].min() > 1e-3


@pytest.mark.parametrize("penalty", [1e-3, 0.3, 50.0])
def test_ridge_is_scikit_learns_at_every_prefix(penalty):
    prompts = prompts_of()

    def fit(X, y):
        if not len(X):
            return torch.zeros(X.shape[1], dtype=torch.float64)
        model = sklearn.linear_model.Ridge(alpha=penalty, fit_intercept=False, solver="svd")
        return torch.from_numpy(model.fit(X.numpy(), y.numpy()).coef_)

    torch.testing.assert_close(Ridge(penalty).predict(prompts), at_every_prefix(prompts, fit), atol=1e-10, rtol=1e-9)


def test_ridge_is_its_closed_form():
    prompts = prompts_of()
    eye = torch.eye(5, dtype=torch.float64)
    expected = at_every_prefix(prompts, lambda X, y: torch.linalg.solve(X.T @ X + 0.3 * eye, X.T @ y))
    torch.testing.assert_close(Ridge(0.3).predict(prompts), expected, atol=1e-10, rtol=1e-9)


def test_ridge_goes_to_least_squares_and_to_zero():
    prompts = prompts_of(kappa=2.0)
    torch.testing.assert_close(
        Ridge(1e-9).predict(prompts)[:, 8:], LeastSquares().predict(prompts)[:, 8:], atol=1e-7, rtol=1e-7
    )
    assert Ridge(1e9).predict(prompts).abs().max() < 1e-6


def test_the_bayes_penalty_is_the_best_one():
    prompts = prompts_of(5, 12, n_prompts=2000, noise_std=0.5)
    losses = {r: (Ridge(r).predict(prompts) - prompts.ys).square().mean() for r in (0.05, 0.25, 1.25)}
    assert min(losses, key=losses.__getitem__) == 0.25  # (noise_std / w_std)²
    assert losses[0.25] < (LeastSquares().predict(prompts) - prompts.ys).square().mean()


@pytest.mark.parametrize("penalty", [0.0, -1.0, float("nan")])
def test_a_penalty_that_is_not_positive_is_refused(penalty):
    with pytest.raises(ValueError, match="expected penalty > 0; use LeastSquares for 0"):
        Ridge(penalty)
