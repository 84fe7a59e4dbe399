import pytest
import torch

from mesascope.models import LeastSquares, LinearRegression, Prompts
from mesascope.models.learners import ConjugateGradient
from tests.models.learners.prompts import at_every_prefix, members_of, prompts_of


def krylov(X, y, n_steps):
    """The best w in span(b, Sb, …, S^{k−1}b), by least squares on an orthonormal basis of it: no recursion."""
    S, w = X.T @ X, torch.zeros(X.shape[1], dtype=torch.float64)
    v, basis = X.T @ y, list[torch.Tensor]()
    for _ in range(min(n_steps, len(X), X.shape[1])):
        for _ in range(2):
            for q in basis:
                v = v - (q @ v) * q
        basis.append(v / v.norm())
        v = S @ basis[-1]
    if basis:
        Q = torch.stack(basis, dim=1)
        w = Q @ torch.linalg.lstsq(X @ Q, y[:, None], driver="gelsd").solution[:, 0]
    return w


@pytest.mark.parametrize("n_steps", [0, 1, 2, 3])
def test_it_is_the_best_in_its_krylov_space(n_steps):
    prompts = prompts_of()
    expected = at_every_prefix(prompts, lambda X, y: krylov(X, y, n_steps))
    # 1e-7: where t = d, S has eigenvalues down to 1e-4 of the largest.
    torch.testing.assert_close(ConjugateGradient(n_steps).predict(prompts), expected, atol=1e-7, rtol=1e-7)


@pytest.mark.parametrize("n_dims, n_points", [(1, 5), (3, 9), (5, 14), (6, 4)])
def test_as_many_steps_as_the_rank_end_at_least_squares(n_dims, n_points):
    prompts = prompts_of(n_dims, n_points, kappa=3.0)
    exact = LeastSquares().predict(prompts)
    for t in range(n_points):
        preds = ConjugateGradient(min(t, n_dims)).predict(prompts)[:, t]
        torch.testing.assert_close(preds, exact[:, t], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("n_dims", [5, 20])
def test_more_steps_than_needed_move_nothing_and_mend_rounding(n_dims):
    """κ = 100, 50 prompts: without an end the steps would be ratios of rounding errors."""
    prompts = prompts_of(n_dims, 2 * n_dims, n_prompts=50, kappa=100.0)
    exact = LeastSquares().predict(prompts)
    preds = ConjugateGradient(20 * n_dims).predict(prompts)
    assert ((preds - exact).abs() / (1 + exact.abs())).max() < 1e-7
    torch.testing.assert_close(ConjugateGradient(2000).predict(prompts), preds, atol=1e-9, rtol=1e-9)


def test_one_eigenvalue_takes_one_step():
    prompts = prompts_of(4, 9, n_prompts=2)
    orthogonal = torch.linalg.qr(prompts.xs[:, :4]).Q
    xs = torch.cat([orthogonal, prompts.xs[:, 4:5]], dim=1)
    alike = Prompts(xs, prompts.ys[:, :5])
    torch.testing.assert_close(ConjugateGradient(1).predict(alike), LeastSquares().predict(alike))


def test_predictions_are_not_linear_in_y():
    """The negative control of the list of exceptions in test_base."""
    prompts = prompts_of()
    other = Prompts(prompts.xs, torch.randn_like(prompts.ys))
    both = Prompts(prompts.xs, prompts.ys + other.ys)
    learner = ConjugateGradient(2)
    apart = learner.predict(prompts) + learner.predict(other)
    assert not torch.allclose(learner.predict(both), apart, rtol=1e-2)


def test_the_error_on_the_examples_falls_with_every_step():
    prompts = prompts_of(5, 12, n_prompts=8)
    for t in (4, 8, 11):
        errors = []
        for k in range(6):
            w = ConjugateGradient(k).weights(prompts)[:, t]
            errors.append((torch.einsum("bni,bi->bn", prompts.xs[:, :t], w) - prompts.ys[:, :t]).square().sum(-1))
        assert (torch.stack(errors).diff(dim=0) <= 1e-9).all()


def test_its_grid_and_its_arguments():
    members = members_of(ConjugateGradient, LinearRegression(n_dims=3, n_points=8))
    assert [member.n_steps for member in members] == [1, 2, 3, 4, 5]
    with pytest.raises(ValueError, match=r"ConjugateGradient\(n_steps=-1\): expected n_steps >= 0"):
        ConjugateGradient(-1)
