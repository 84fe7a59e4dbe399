import torch

from mesascope.analyses import attach
from mesascope.analyses.curvature.spectra import N_PROMPTS, sample_spectra
from mesascope.analyses.matching.matching import own_bases
from mesascope.models import LinearRegression, gd_plus_plus
from tests.analyses.curvature.planted import GAMMAS, planted


def spectra(scope):
    return sample_spectra(scope, own_bases(scope))


def test_gd_plus_plus_moves_each_eigenvalue_as_its_polynomial_says():
    found = spectra(planted())
    for gamma, layer in zip(GAMMAS[:-1], found.values(), strict=False):
        exact = layer.before * (1 - gamma * layer.before).square()
        torch.testing.assert_close(layer.along, exact)
        torch.testing.assert_close(layer.after, exact.sort(descending=True).values)


def test_a_layer_starts_where_the_one_before_ended():
    first, second, _ = spectra(planted()).values()
    assert first.before.shape == (N_PROMPTS, 4)
    torch.testing.assert_close(first.after, second.before)


def test_the_condition_number_of_exact_gd_plus_plus_may_fall_or_rise():
    mild = spectra(planted(gammas=(0.5, 0.0, 0.0)))[0]
    strong = spectra(planted(gammas=(1.8, 0.0, 0.0)))[0]
    assert mild.condition(True)[1] < mild.condition(False)[1]
    assert strong.condition(True)[1] > strong.condition(False)[1]


def test_eigenvalues_that_few_points_leave_at_zero_are_no_part_of_the_condition_number():
    task = LinearRegression(n_dims=6, n_points=4)
    scope = attach(gd_plus_plus(6, 4, [1.0, 1.0], [0.1, 0.0], dtype=torch.float64), task=task)
    layer = spectra(scope)[0]
    assert layer.rank == 3
    assert layer.before[:, 3:].max() < 1e-12
    assert layer.condition(False)[1] < 1e3


def test_quantiles_are_in_order_and_data_holds_them():
    layer = spectra(planted())[0]
    data = layer.data()["before"]
    low, middle, high = data["quantiles"]
    assert all(a <= b <= c for a, b, c in zip(low, middle, high, strict=True))
    assert len(data["mean"]) == 4
    assert len(data["condition"]) == 3
