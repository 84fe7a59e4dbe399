import pytest
import torch

from mesascope.models import GradientDescent, LeastSquares
from tests.models.learners.prompts import at_every_prefix, prompts_of


def descend(X, y, n_steps, eta, loss):
    """Gradient descent as it is written in a textbook."""
    w = torch.zeros(X.shape[1], dtype=torch.float64)
    for _ in range(n_steps):
        gradient = X.T @ (X @ w - y)
        w = w - eta * (gradient / max(len(X), 1) if loss == "mean" else gradient)
    return w


# λ_max is about 3 t here: sum with .03 has ηλ around 1, .08 above 2 (the iterates grow), mean with .5 around 1.5.
@pytest.mark.parametrize("loss, eta", [("sum", 1e-3), ("sum", 0.03), ("sum", 0.08), ("mean", 0.02), ("mean", 0.5)])
@pytest.mark.parametrize("n_steps", [0, 1, 2, 7, 60])
def test_gradient_descent_is_its_loop(loss, eta, n_steps):
    prompts = prompts_of()
    expected = at_every_prefix(prompts, lambda X, y: descend(X, y, n_steps, eta, loss))
    preds = GradientDescent(n_steps, eta, loss).predict(prompts)
    torch.testing.assert_close(preds, expected, atol=1e-10, rtol=1e-8)  # relative: a diverging one is huge


def test_the_largest_step_sizes_of_the_loop_test_do_overshoot():
    eigenvalues = prompts_of().decomposition.eigenvalues[:, -1]
    assert 1 < (0.03 * eigenvalues).max()
    assert (0.08 * eigenvalues).max() > 2
    assert 1 < (0.5 * eigenvalues / 11).max()


def test_the_mean_loss_is_the_default():
    assert GradientDescent(3, 0.1) == GradientDescent(3, 0.1, loss="mean")


def test_many_steps_end_at_least_squares():
    prompts = prompts_of(kappa=3.0)
    preds = GradientDescent(2**16, 0.02, "sum").predict(prompts)
    late = slice(8, None)  # before, some prefix has an eigenvalue too small for 2^16 steps
    torch.testing.assert_close(preds[:, late], LeastSquares().predict(prompts)[:, late], atol=1e-8, rtol=0)


def test_a_tiny_step_keeps_its_digits():
    """1 − (1−ηλ)^k with ηλ = 1e-14 has one digit in floating point; the response is kηλ to first order."""
    response = GradientDescent(3, 1e-14).response(torch.ones(1, dtype=torch.float64))
    assert response.item() == pytest.approx(3e-14, rel=1e-10, abs=0)


def test_the_response_saturates_at_one_and_is_zero_at_zero():
    response = GradientDescent(50, 0.5).response(torch.tensor([0.0, 1.0, 2.0, 3.9], dtype=torch.float64))
    torch.testing.assert_close(response, torch.tensor([0, 1, 1, 1 - 0.95**50], dtype=torch.float64))


@pytest.mark.parametrize("arguments", [(-1, 0.1), (3, 0.0), (3, -1.0), (3, float("nan"))])
def test_impossible_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match="expected n_steps >= 0, eta > 0 and loss 'mean' or 'sum'"):
        GradientDescent(*arguments)


def test_an_unknown_loss_is_refused(unchecked_shapes):
    with pytest.raises(ValueError, match="loss='median'.*expected .* loss 'mean' or 'sum'"):
        GradientDescent(3, 0.1, "median")  # type: ignore[arg-type]
