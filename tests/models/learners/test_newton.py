import pytest
import torch

from mesascope.models import LeastSquares, Newton
from mesascope.models.learners import ALPHAS
from tests.models.learners.prompts import at_every_prefix, prompts_of

BY_NORM = {
    "frobenius": lambda SS: 1 / torch.linalg.matrix_norm(SS),
    "twice_frobenius": lambda SS: 2 / torch.linalg.matrix_norm(SS),
    "twice_spectral": lambda SS: 2 / torch.linalg.matrix_norm(SS, 2),
}


def iterate(X, y, n_steps, alpha):
    """Newton-Schulz as Fu et al. (2024) print it, by matrix products."""
    S = X.T @ X
    if not len(X):
        return torch.zeros(X.shape[1], dtype=X.dtype)
    M = (BY_NORM[alpha](S @ S.T) if isinstance(alpha, str) else alpha) * S
    for _ in range(n_steps):
        M = 2 * M - M @ S @ M
    return M @ X.T @ y


@pytest.mark.parametrize("alpha", [*ALPHAS, 1e-3])
@pytest.mark.parametrize("n_steps", [0, 1, 2, 5, 9])
def test_newton_is_its_matrix_iteration(alpha, n_steps):
    prompts = prompts_of(kappa=30)
    expected = at_every_prefix(prompts, lambda X, y: iterate(X, y, n_steps, alpha))
    # The products double their rounding in the null space each step: 2^9 ε is 1e-13.
    torch.testing.assert_close(Newton(n_steps, alpha).predict(prompts), expected, atol=1e-9, rtol=1e-9)


def test_the_response_is_the_filter_of_the_methods():
    prompts = prompts_of(n_points=30)
    eigenvalues = prompts.decomposition.eigenvalues[:, -1]
    alpha = 1 / eigenvalues.square().norm(dim=-1, keepdim=True)
    for k in (0, 1, 4, 8):
        expected = 1 - (1 - alpha * eigenvalues**2) ** 2**k
        torch.testing.assert_close(Newton(k).response(eigenvalues), expected, atol=1e-11, rtol=0)


@pytest.mark.parametrize("alpha, first", [("frobenius", 0), ("twice_frobenius", 2)])
def test_many_steps_end_at_least_squares_in_every_prefix(alpha, first):
    prompts = prompts_of(kappa=5)
    newton, exact = Newton(60, alpha).predict(prompts), LeastSquares().predict(prompts)
    torch.testing.assert_close(newton[:, first:], exact[:, first:], atol=1e-9, rtol=1e-9)


def test_twice_frobenius_learns_nothing_from_one_point():
    """One eigenvalue: 2/‖SSᵀ‖_F is 2/‖SSᵀ‖₂, which kills it; the published figures contain this."""
    assert Newton(10, "twice_frobenius").predict(prompts_of())[:, 1].abs().max() < 1e-10
    assert Newton(10).predict(prompts_of())[:, 1].abs().max() > 0.1


@pytest.mark.parametrize("n_steps", [1, 10, 23])
def test_twice_spectral_kills_the_top_eigendirection_and_no_other(n_steps):
    response = Newton(n_steps, "twice_spectral").response(prompts_of(n_points=30).decomposition.eigenvalues[:, -1])
    assert response[:, -1].abs().max() < 2**n_steps * 1e-14  # λ m_0 = 2 → 0, up to doubling rounding
    assert (response[:, :-1] > 0).all()
    assert (Newton(n_steps).response(prompts_of(n_points=30).decomposition.eigenvalues[:, -1])[:, -1] > 0.5).all()


def test_the_error_of_twice_spectral_stays_at_one_dimension():
    """Noise-free, isotropic: the killed direction carries 1/d of the error, for ever; 1/F goes to zero."""
    prompts = prompts_of(n_dims=20, n_points=60, n_prompts=200, kappa=1.0, noise_std=0.0)
    assert prompts.w is not None

    def remaining(alpha):
        error = Newton(40, alpha).weights(prompts)[:, -1] - prompts.w
        return error.square().sum(-1).mean().item() / 20

    assert remaining("twice_spectral") == pytest.approx(1 / 20, rel=0.4)  # 200 χ² of one degree: 10% standard error
    assert remaining("frobenius") < 1e-18


def test_the_filter_does_not_blow_up_where_matrix_products_do():
    """In the null space of a short prefix the matrix iteration doubles its rounding; the filter has none there."""
    prompts = prompts_of(n_dims=20, n_points=12, n_prompts=2).to(torch.float32)
    exact = LeastSquares().predict(prompts)
    assert (Newton(60).predict(prompts) - exact).abs().max() < 1e-8
    blown = at_every_prefix(prompts, lambda X, y: iterate(X, y, 60, "frobenius"))
    assert not (blown - exact).abs().max() < 1  # not: it may have become NaN


def test_a_number_for_alpha_is_taken_for_every_prompt_and_prefix_and_shown():
    eigenvalues, newton = torch.tensor([[0.1, 1.0, 2.0], [0.5, 0.5, 0.5]], dtype=torch.float64), Newton(3, 0.25)
    torch.testing.assert_close(newton.response(eigenvalues), 1 - (1 - 0.25 * eigenvalues**2) ** 8)
    assert newton.label == "Newton k=3 (α 0.25)" and newton.strength == {"k": 3.0}
    assert (Newton(3).label, Newton(3, "twice_spectral").label) == ("Newton k=3", "Newton k=3 (α twice_spectral)")
    prompts = prompts_of()
    assert (newton.predict(prompts)[:, 0] == 0).all()  # from no points, nothing


def test_beyond_two_over_the_largest_square_a_fixed_alpha_diverges():
    eigenvalues = torch.tensor([1.0, 2.0], dtype=torch.float64)
    assert (Newton(20, 0.49).response(eigenvalues) - 1).abs().max() < 1e-3
    assert Newton(8, 0.51).response(eigenvalues)[1].abs() > 1e3


def test_impossible_arguments_are_refused():
    for alpha in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match=f"alpha={alpha}.*a finite one > 0"):
            Newton(3, alpha=alpha)
    with pytest.raises(ValueError, match="expected n_steps >= 0"):
        Newton(-1)
    with pytest.raises(ValueError, match="did you mean 'twice_spectral'"):
        Newton(3, alpha="twice_spectrum")
