import pytest
import torch

from mesascope.models import GradientDescent, LinearRegression, MesascopeError, optimal_preconditioner, optimal_step
from mesascope.models.inputs import Gaussian, Mixture, Uniform
from mesascope.models.spectra import Geometric, LogUniform

TASKS = {
    "gaussian": LinearRegression(n_dims=4, n_points=9),
    "uniform": LinearRegression(n_dims=4, n_points=9, inputs=Uniform(half_width=1.5)),
    "scaled": LinearRegression(n_dims=4, n_points=9, inputs=Gaussian(scale=3.0)),
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


@pytest.mark.parametrize("noise_std", [0.0, 0.7])
@pytest.mark.parametrize("basis", ["axes", "fixed"])
def test_the_optimal_preconditioner_is_stationary_on_a_sample(basis, noise_std):
    """E (A Xᵀy/n − w) (Xᵀy)ᵀ Σ-weighted is zero at the optimum; beside it the loss is higher."""
    inputs = Gaussian(spectrum=Geometric(kappa=10), basis=basis)
    task = LinearRegression(n_dims=3, n_points=9, inputs=inputs, noise_std=noise_std)
    prompts = task.sample(60_000, seed=0, dtype=torch.float64)
    assert prompts.w is not None
    moments = torch.einsum("bnd,bn->bd", prompts.xs[:, :-1], prompts.ys[:, :-1]) / 8
    best, sigma = optimal_preconditioner(task), inputs.covariance(3)

    def loss(A):
        missed = moments @ A.T - prompts.w
        return torch.einsum("bi,ij,bj->b", missed, sigma, missed).mean()

    # the sampled optimum in closed form: E[w mᵀ] E[m mᵀ]⁻¹, whatever Σ
    sampled = (prompts.w.T @ moments) @ torch.linalg.inv(moments.T @ moments)
    assert (best - sampled).norm() < 0.03 * best.norm()
    for other in (0.8 * best, torch.diag(best.diagonal()) + 0.1, torch.eye(3).double() * best.trace() / 3):
        assert loss(other) > loss(best)


def test_the_optimal_preconditioner_of_isotropic_inputs_is_the_optimal_step():
    task = LinearRegression(n_dims=5, n_points=11, noise_std=0.3, w_std=2.0)
    torch.testing.assert_close(optimal_preconditioner(task), optimal_step(task).eta * torch.eye(5).double())


def test_without_one_covariance_or_gaussian_x_there_is_no_optimal_preconditioner():
    with pytest.raises(MesascopeError, match="another covariance for every prompt"):
        optimal_preconditioner(LinearRegression(inputs=Gaussian(spectrum=LogUniform(kappa=3))))
    with pytest.raises(ValueError, match="expected Gaussian x"):
        optimal_preconditioner(LinearRegression(inputs=Uniform()))
    with pytest.raises(ValueError, match="n_points=1 leaves no context"):
        optimal_preconditioner(LinearRegression(n_points=1))
