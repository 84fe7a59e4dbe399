import pytest
import torch
from scipy.optimize import least_squares

from mesascope.analyses.spectral.steps import best_gamma, fit_steps, is_linear_stack
from mesascope.models import GradientDescentPlusPlus, HookedRegressor, LinearRegression, RegressorConfig
from mesascope.probes import Spectrum

from ..conftest import decoder


def gd_plus_plus_data(etas, gammas, n_prompts=400, noise=0.0):
    task = LinearRegression(n_dims=4, n_points=13)
    prompts = task.sample(n_prompts, seed=0, dtype=torch.float64)
    path = GradientDescentPlusPlus(etas, gammas).path(prompts)[1:, :, 12]
    random = torch.randn(path.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return Spectrum.of(prompts, [12])[0], path + noise * path.std(1, keepdim=True) * random


@pytest.mark.parametrize(
    "etas, gammas",
    [((0.4,), (0.0,)), ((0.3, 0.9), (0.2, 0.0)), ((0.3, 0.9, 2.0), (0.2, -0.1, 0.0)), ((0.5, 0.5), (0.0, 0.0))],
)
def test_the_steps_of_gd_plus_plus_are_recovered(etas, gammas):
    found = fit_steps(*gd_plus_plus_data(etas, gammas))
    assert [eta.value for eta, _, _ in found] == pytest.approx(etas, rel=1e-4)
    assert found[0][1] is None
    assert [gamma.value for _, gamma, _ in found[1:] if gamma] == pytest.approx(gammas[:-1], abs=1e-4)
    assert all(r2.value == pytest.approx(1) for *_, r2 in found)


def test_the_steps_equal_a_sequential_fit_by_scipy():
    spectrum, preds = gd_plus_plus_data((0.3, 0.9), (0.2, 0.0), noise=0.3)
    first, second = fit_steps(spectrum, preds)
    lam, products = (part / 12 for part in (spectrum.eigenvalues, spectrum.products))
    one = products.sum(1)
    eta = (one @ preds[0] / (one @ one)).item()
    assert first[0].value == pytest.approx(eta)

    def missed(theta):
        recovered = eta + theta[0] * (1 - eta * lam) * (1 - theta[1] * lam) ** 2
        return ((products * recovered).sum(1) - preds[1]).numpy()

    theirs = least_squares(missed, [0.9, 0.2])
    assert second[1] is not None
    assert (second[0].value, second[1].value) == pytest.approx(tuple(theirs.x), rel=1e-4)
    assert second[2].value == pytest.approx(1 - 2 * theirs.cost / preds[1].square().sum().item())


@pytest.mark.slow
def test_the_intervals_of_steps_hold_the_truth():
    held = []
    for seed in range(40):
        spectrum, exact = gd_plus_plus_data((0.3, 0.9), (0.2, 0.0), n_prompts=200)
        random = torch.randn(exact.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        (eta_1, *_), (eta_2, gamma, _) = fit_steps(spectrum, exact + 0.2 * exact.std(1, keepdim=True) * random)
        truth = zip((eta_1, eta_2, gamma), (0.3, 0.9, 0.2), strict=True)
        held.append([found is not None and found.low <= value <= found.high for found, value in truth])
    assert 0.88 <= torch.tensor(held).double().mean() <= 0.99


def test_a_layer_that_predicts_zero_is_no_step():
    spectrum, preds = gd_plus_plus_data((0.4, 0.4), (0.1, 0.0))
    found = fit_steps(spectrum, torch.zeros_like(preds))
    assert [(eta.value, r2.value) for eta, _, r2 in found] == [(0.0, 0.0), (0.0, 0.0)]


def test_the_best_gamma_is_found_between_two_optima():
    # 1 − γλ of either sign leaves the same square: with one eigenvalue each there are two γ, of which only one is best.
    lam = torch.tensor([0.5, 1.0, 2.0]).double()
    F = torch.stack([torch.ones(3).double(), lam, lam**2], dim=1) * torch.tensor([1.0, 2.0, 3.0]).double()[:, None]
    y = F @ torch.tensor([1.0, -2 * 0.7, 0.7**2]).double() * 1.5
    found = best_gamma((F.T @ F)[None], (F.T @ y)[None], unit=1.0)
    assert found.item() == pytest.approx(0.7, abs=1e-6)


def test_only_linear_self_attention_is_a_stack_of_steps():
    assert is_linear_stack(HookedRegressor(RegressorConfig.linear_self_attention(3, 9, 2, tied=True)))
    softmax = RegressorConfig.linear_self_attention(3, 9, 2).model_copy(update={"attention": "softmax"})
    assert not is_linear_stack(HookedRegressor(softmax)) and not is_linear_stack(decoder())
