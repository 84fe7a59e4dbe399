import pytest
import torch

from mesascope.models import LinearRegression
from mesascope.models.inputs import Gaussian, Mixture, RandomQuadrants, Uniform
from mesascope.models.spectra import TwoLevel
from mesascope.models.tasks import QuadraticRegression
from mesascope.models.tasks.quadratic_regression import fourth_moment


def test_y_is_linear_in_the_squares_and_blind_to_signs():
    task = QuadraticRegression(w_std=2.0)
    prompts = task.sample(6, seed=0, dtype=torch.float64)
    w = torch.linalg.lstsq(prompts.xs.square(), prompts.ys[..., None]).solution
    torch.testing.assert_close((prompts.xs.square() @ w)[..., 0], prompts.ys)
    function = task.function(6, torch.Generator().manual_seed(0))
    assert torch.equal(function.evaluate(-prompts.xs), function.evaluate(prompts.xs))
    w = torch.randn(6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2
    basis = torch.eye(5, dtype=torch.float64).expand(6, 5, 5)
    torch.testing.assert_close(function.evaluate(basis), w / 3**0.5)


def test_it_has_the_variance_of_linear_regression_for_isotropic_gaussian_inputs():
    assert QuadraticRegression().null_loss == pytest.approx(LinearRegression().null_loss)


@pytest.mark.parametrize("inputs", [Gaussian(scale=1.5), Uniform(half_width=2)], ids=repr)
def test_fourth_moments_are_those_of_the_points(inputs):
    xs = inputs.sample(20_000, 1, 2, torch.Generator().manual_seed(0))
    fourth = xs**4
    assert abs(fourth.mean() - fourth_moment(inputs)) < 4 * fourth.std() / 40_000**0.5


def test_a_fourth_moment_without_closed_form_is_none_also_inside_a_mixture():
    known, unknown = Mixture(components=(Gaussian(), Uniform())), Gaussian(spectrum=TwoLevel())
    assert fourth_moment(known) == pytest.approx((3 + 1 / 5) / 2)
    assert fourth_moment(unknown) is None and fourth_moment(RandomQuadrants()) is None
    assert fourth_moment(Mixture(components=(Gaussian(), unknown))) is None
