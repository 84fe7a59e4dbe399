import pytest
import torch

from mesascope.models import GradientDescent, LeastSquares, LinearRegression, optimal_step
from mesascope.models.inputs import Gaussian, Mixture, Uniform
from mesascope.models.spectra import Geometric
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


TASKS = {
    "gaussian": LinearRegression(n_dims=4, n_points=9),
    "uniform": LinearRegression(n_dims=4, n_points=9, inputs=Uniform(half_width=1.5)),
    "noisy": LinearRegression(n_dims=3, n_points=6, noise_std=0.8, w_std=0.6),
    "noisy uniform": LinearRegression(n_dims=2, n_points=4, inputs=Uniform(), noise_std=0.3, w_std=2.0),
}


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS.keys())
def test_the_optimal_step_minimises_a_sampled_loss(task):
    """The loss is a parabola in η, so its sampled minimum needs no search; 20,000 prompts give about 1%."""
    prompts, step = task.sample(20_000, seed=0, dtype=torch.float64), optimal_step(task)
    unit = GradientDescent(1, 1.0).predict(prompts)[:, -1]  # ŷ = η · unit
    y = prompts.ys[:, -1]
    assert step.eta == pytest.approx(((unit * y).mean() / unit.square().mean()).item(), rel=0.03)
    losses = (GradientDescent(1, step.eta).predict(prompts)[:, -1] - y).square()
    assert abs(losses.mean() - step.mse) < 4 * losses.std() / 20_000**0.5
    for factor in (0.8, 1.25):
        assert (factor * step.eta * unit - y).square().mean() > losses.mean()


@pytest.mark.parametrize("d, n", [(1, 1), (5, 10), (10, 10), (20, 40)])
def test_the_optimum_for_isotropic_gaussian_x_is_the_published_one(d, n):
    step = optimal_step(LinearRegression(n_dims=d, n_points=n + 1))
    assert step.mse == pytest.approx(d * (d + 1) / (n + d + 1), rel=1e-12)
    assert step.eta == pytest.approx(n / (n + d + 1), rel=1e-12)


def test_von_oswalds_setting_has_its_published_step_and_loss():
    """Uniform x on [-1, 1], d = n = 10, loss ½ MSE: .2062 for one step; his η = 6.06 is on ½ of a sum over 2n."""
    task = LinearRegression(n_dims=10, n_points=11, inputs=Uniform())
    assert task.null_loss == pytest.approx(10 / 3)
    half_width_half = LinearRegression(n_dims=10, n_points=11, inputs=Uniform(half_width=0.5))
    assert optimal_step(half_width_half).mse / 2 == pytest.approx(0.2062, abs=5e-5)
    assert half_width_half.null_loss / 2 == pytest.approx(0.4167, abs=5e-5)
    assert optimal_step(half_width_half).eta == pytest.approx(6.06, abs=5e-3)


def test_one_point_of_context_in_one_dimension_by_hand():
    """d = n = 1, x ~ N(0, 1): loss 1 − 2η + 3η² is least at η = 1/3, where it is 2/3."""
    step = optimal_step(LinearRegression(n_dims=1, n_points=2))
    assert (step.eta, step.mse) == (pytest.approx(1 / 3), pytest.approx(2 / 3))


@pytest.mark.parametrize(
    "inputs", [Gaussian(spectrum=Geometric(kappa=3)), Mixture(components=(Gaussian(), Uniform()))], ids=repr
)
def test_other_inputs_have_no_closed_form(inputs):
    with pytest.raises(ValueError, match="expected isotropic Gaussian or uniform x"):
        optimal_step(LinearRegression(inputs=inputs))


def test_a_prompt_without_context_has_no_best_step():
    with pytest.raises(ValueError, match="n_points=1"):
        optimal_step(LinearRegression(n_points=1))
