import gc

import numpy as np
import pytest
import torch

from mesascope.models import LinearRegression, Prompts, SparseLinearRegression
from mesascope.models.inputs import Gaussian, OneHot, Uniform
from mesascope.models.learners import Lasso, LassoPath, lasso_path
from mesascope.models.spectra import HalfSubspace
from tests.models.learners.prompts import prompts_of

PENALTIES = (1e-3, 0.02, 0.3, 2.0)


def coordinate_descent(S, b, penalty, n_sweeps=20_000):
    """Lasso in moments, to rounding: the textbook update of one coordinate after the other."""
    w = np.zeros_like(b)
    for _ in range(n_sweeps):
        before = w.copy()
        for j in range(len(b)):
            if S[j, j] > 0:
                rho = b[j] - S[j] @ w + S[j, j] * w[j]
                w[j] = np.sign(rho) * max(abs(rho) - penalty, 0) / S[j, j]
        if np.abs(w - before).max() < 1e-13:
            break
    return w


@pytest.mark.parametrize("n_dims, n_points", [(1, 4), (3, 9), (4, 3)])
def test_it_is_coordinate_descent_at_every_prefix_and_penalty(n_dims, n_points):
    prompts = prompts_of(n_dims, n_points, kappa=3.0)
    preds = LassoPath.of(prompts).predict(PENALTIES)
    assert preds.shape == (4, *prompts.ys.shape)
    for b, t in np.ndindex(*prompts.ys.shape):
        X, y = prompts.xs[b, :t].numpy(), prompts.ys[b, :t].numpy()
        for penalty, pred in zip(PENALTIES, preds[:, b, t], strict=True):
            w = coordinate_descent(X.T @ X / max(t, 1), X.T @ y / max(t, 1), penalty)
            assert pred.item() == pytest.approx(prompts.xs[b, t].numpy() @ w, abs=1e-8)


@pytest.mark.parametrize(
    "task",
    [
        LinearRegression(n_dims=5, n_points=14, noise_std=0.2),
        LinearRegression(n_dims=12, n_points=16),
        LinearRegression(n_dims=5, n_points=10, inputs=OneHot(n_dims=5), noise_std=0.1),
        LinearRegression(n_dims=6, n_points=10, inputs=Gaussian(spectrum=HalfSubspace(), basis="axes")),
        SparseLinearRegression(n_dims=10, n_points=14),
    ],
    ids=["noisy", "noise-free", "one-hot", "subspace", "sparse"],
)
def test_no_prefix_of_the_common_tasks_fails(task):
    assert (LassoPath.of(task.sample(64, seed=0, dtype=torch.float64)).known_from == 0).all()


@pytest.mark.parametrize("half_width", [1e-3, 1.0, 1e3])
def test_the_units_of_x_and_y_do_not_matter(half_width):
    """Scikit-learn's path ends at an absolute penalty of 1e-7: small data would be cut off."""
    task = LinearRegression(n_dims=3, n_points=8, inputs=Uniform(half_width=half_width))
    plain = LinearRegression(n_dims=3, n_points=8, inputs=Uniform()).sample(5, seed=0, dtype=torch.float64)
    prompts = task.sample(5, seed=0, dtype=torch.float64)
    preds = Lasso(1e-4 * half_width**2).predict(prompts) / half_width
    torch.testing.assert_close(preds, Lasso(1e-4).predict(plain), atol=1e-9, rtol=1e-9)


def test_a_path_that_fails_is_completed_by_coordinate_descent():
    """Equal coordinates of x: the path drops one of each pair as degenerate, and with it the optimum."""
    prompts = prompts_of(3, 10, n_prompts=8, kappa=2.0)
    twice = Prompts(prompts.xs[..., [0, 1, 2, 0, 1]], prompts.ys)
    path = LassoPath.of(twice)
    assert (path.known_from > 0).any()
    # |w|₁ of equal coordinates is that of their sum, so the predictions are those of the three coordinates.
    expected = LassoPath.of(prompts).predict(PENALTIES)
    torch.testing.assert_close(path.predict(PENALTIES), expected, atol=1e-4, rtol=1e-4)  # its tolerance: 1e-10 of |y|²


def test_the_path_is_fitted_once_as_long_as_the_prompts_live(monkeypatch):
    fitted, fit = [], lasso_path._fit

    def counted(prefixes):
        fitted.append(prefixes)
        return fit(prefixes)

    monkeypatch.setattr(lasso_path, "_fit", counted)
    prompts = prompts_of(3, 6)
    for penalty in PENALTIES:
        Lasso(penalty).predict(prompts)
    assert len(fitted) == 1
    Lasso(0.1).predict(prompts[:2])
    assert len(fitted) == 2
    alive = len(lasso_path._PATHS)
    del prompts
    gc.collect()
    assert len(lasso_path._PATHS) < alive


def test_a_few_points_are_fitted_alone():
    prompts = prompts_of(3, 8)
    path = LassoPath.of(prompts, [2, 7])
    assert path.penalties.shape[:2] == (4, 2)
    torch.testing.assert_close(path.predict([0.1])[0], Lasso(0.1).predict(prompts)[:, [2, 7]])


@pytest.mark.parametrize("what", ["x", "y"])
def test_without_anything_to_fit_it_predicts_zero(what):
    prompts = prompts_of(3, 6)
    empty = Prompts(prompts.xs * (what != "x"), prompts.ys * (what != "y"))
    assert (LassoPath.of(empty).predict(PENALTIES) == 0).all()


def test_between_knots_predictions_are_linear_in_the_penalty():
    prompts = prompts_of(4, 9)
    path = LassoPath.of(prompts)
    low, high = path.penalties[0, 8, 2].item(), path.penalties[0, 8, 3].item()
    ends = path.predict([low, (low + high) / 2, high])[:, 0, 8]
    torch.testing.assert_close(ends[1], (ends[0] + ends[2]) / 2)
    assert ends[0] != ends[2]
