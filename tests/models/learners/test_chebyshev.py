import numpy as np
import pytest
import torch

from mesascope.models import GradientDescent, LeastSquares, LinearRegression, Prompts
from mesascope.models.learners import Chebyshev
from tests.models.learners.prompts import at_every_prefix, members_of, prompts_of


def semi_iterate(X, y, n_steps):
    """The textbook form with centre and half-width, by matrix products; one eigenvalue is solved at once."""
    S, b = X.T @ X, X.T @ y
    w = torch.zeros_like(b)
    if not len(X) or not n_steps:
        return w
    eigenvalues = torch.linalg.eigvalsh(S)
    inside = eigenvalues[eigenvalues > 1e-10 * eigenvalues[-1]]
    centre, half = (inside[-1] + inside[0]) / 2, (inside[-1] - inside[0]) / 2
    direction = b / centre
    w, rho = direction, half / centre
    for _ in range(n_steps - 1):
        if half < 1e-10 * centre:
            break
        new = 1 / (2 * centre / half - rho)
        direction = new * rho * direction + 2 * new / half * (b - S @ w)
        w, rho = w + direction, new
    return w


@pytest.mark.parametrize("n_steps", [0, 1, 2, 5, 12])
def test_it_is_its_textbook_iteration(n_steps):
    prompts = prompts_of(kappa=30)
    expected = at_every_prefix(prompts, lambda X, y: semi_iterate(X, y, n_steps))
    # 1e-7: S is ill-conditioned at t ≈ d, and eigvalsh gives its smallest eigenvalue to ε λ_max.
    torch.testing.assert_close(Chebyshev(n_steps).predict(prompts), expected, atol=1e-7, rtol=1e-7)


@pytest.mark.parametrize("n_steps", [1, 3, 6])
def test_its_residual_is_the_scaled_polynomial(n_steps):
    lam = torch.linspace(0.2, 3.0, 41, dtype=torch.float64)
    T = np.polynomial.chebyshev.Chebyshev.basis(n_steps)
    expected = torch.from_numpy(T((3.2 - 2 * lam.numpy()) / 2.8)) / T(3.2 / 2.8)
    residual = 1 - Chebyshev(n_steps).response(lam)
    torch.testing.assert_close(residual, expected)
    assert residual.abs().max() == pytest.approx(1 / T(3.2 / 2.8))


def test_no_schedule_of_as_many_steps_has_a_smaller_residual():
    """At its largest on the spectrum's interval: 2,000 random schedules of three steps, the best within a factor."""
    lam = torch.linspace(0.2, 3.0, 41, dtype=torch.float64)
    best = (1 - Chebyshev(3).response(lam)).abs().max()
    etas = 3 * torch.rand(2000, 3, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    others = (1 - etas * lam).prod(1).abs().amax(-1)
    assert best < others.min() < 1.2 * best


def test_one_step_is_a_gradient_step_and_exact_with_one_eigenvalue():
    prompts = prompts_of()
    d = prompts.decomposition
    b, a = d.eigenvalues[:, 9, -1], d.eigenvalues[:, 9, 0]
    for index in range(len(prompts)):
        step = GradientDescent(1, 2 / (a + b)[index].item(), "sum").predict(prompts)[index, 9]
        torch.testing.assert_close(Chebyshev(1).predict(prompts)[index, 9], step)
    exact = LeastSquares().predict(prompts)[:, 1]
    for k in (1, 2, 20):
        torch.testing.assert_close(Chebyshev(k).predict(prompts)[:, 1], exact)


def test_in_one_dimension_one_step_is_least_squares():
    prompts = prompts_of(1, 6)
    torch.testing.assert_close(Chebyshev(1).predict(prompts), LeastSquares().predict(prompts))


def test_many_steps_end_at_least_squares_in_every_prefix():
    prompts = prompts_of(kappa=3.0)
    # The error falls by (√κ−1)/(√κ+1) a step; at t ≈ d cond(S) is some thousands.
    preds = Chebyshev(3000).predict(prompts)
    torch.testing.assert_close(preds, LeastSquares().predict(prompts), atol=1e-8, rtol=1e-8)


def test_it_steps_in_units_of_the_spectrum():
    prompts = prompts_of()
    scaled = Prompts(1e4 * prompts.xs, prompts.ys)
    torch.testing.assert_close(Chebyshev(5).predict(scaled), Chebyshev(5).predict(prompts))


def test_its_grid_and_its_arguments():
    members = members_of(Chebyshev, LinearRegression(n_dims=3, n_points=8))
    assert [member.n_steps for member in members] == list(range(1, 25))
    with pytest.raises(ValueError, match=r"Chebyshev\(n_steps=-1\): expected n_steps >= 0"):
        Chebyshev(-1)
