import pytest
import torch

from mesascope.probes import Slopes, jackknife_ratio

D = torch.float64
N_BLOCKS, N = 20, 50


def data(seed=0, noise=1.0):
    rng = torch.Generator().manual_seed(seed)
    z = torch.randn(N_BLOCKS, N, 2, generator=rng, dtype=D)
    return z, z @ torch.tensor([0.7, -0.2], dtype=D) + noise * torch.randn(N_BLOCKS, N, generator=rng, dtype=D)


def filled(z, y, columns=slice(None)):
    slopes = Slopes.zeros(N_BLOCKS, z[..., columns].shape[-1])
    for block in range(N_BLOCKS):
        slopes.update(block, z[block, :, columns], y[block])
    return slopes


def test_slopes_are_those_of_least_squares():
    z, y = data()
    expected = torch.linalg.lstsq(z.flatten(0, 1), y.flatten()[:, None]).solution[:, 0]
    assert [found.value for found in filled(z, y).estimates] == pytest.approx(expected.tolist())


def test_one_slope_has_the_interval_of_a_ratio():
    z, y = data()
    (found,) = filled(z, y, slice(0, 1)).estimates
    ratio = jackknife_ratio((z[..., 0] * y).sum(1), z[..., 0].square().sum(1))
    assert (found.value, *found.ci) == pytest.approx((ratio.value, *ratio.ci))


def test_intervals_cover_the_truth_as_often_as_they_say():
    hits = [filled(*data(seed)).estimates[0] for seed in range(80)]
    assert 0.88 <= sum(found.low <= 0.7 <= found.high for found in hits) / 80 <= 0.99


def test_two_workers_add_up_to_one():
    z, y = data()
    half = N // 2
    parts = filled(z[:, :half], y[:, :half]) + filled(z[:, half:], y[:, half:])
    for one, other in zip(parts.estimates, filled(z, y).estimates, strict=True):
        assert (one.value, *one.ci) == pytest.approx((other.value, *other.ci))


def test_a_regressor_that_is_zero_has_slope_zero():
    z, y = data()
    z[..., 1] = 0
    assert filled(z, y).estimates[1].ci == (0, 0)
