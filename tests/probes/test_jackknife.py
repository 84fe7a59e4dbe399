import numpy as np
import pytest
import torch
from scipy.stats import t as student_t

from mesascope.probes import (
    Estimate,
    block_sums,
    jackknife_ratio,
    jackknifed,
    prediction_interval,
    share_explained,
    share_of_prompts,
)
from mesascope.probes.jackknife import N_BLOCKS, N_RANKED, cosine_interval, share_interval
from tests.probes.prompts import noise


def draws(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_interval_equals_leaving_out_one_block_at_a_time(offset):
    numerator, denominator = draws(7).numpy(), 3 + draws(7, seed=1).numpy() ** 2
    ratios = np.array([np.delete(numerator, i).sum() / np.delete(denominator, i).sum() for i in range(len(numerator))])
    error = np.sqrt(6 / 7 * ((ratios - ratios.mean()) ** 2).sum())
    value = offset + numerator.sum() / denominator.sum()
    half = student_t.ppf(0.975, 6) * error
    found = jackknife_ratio(torch.tensor(numerator), torch.tensor(denominator), offset)
    assert (found.value, *found.ci) == pytest.approx((value, value - half, value + half), rel=1e-12)


def test_interval_of_a_mean_is_students():
    # With equal denominators the jackknife is the textbook interval of a mean.
    values = draws(20)
    half = student_t.ppf(0.975, 19) * values.std().item() / 20**0.5
    found = jackknife_ratio(values, torch.ones(20).double())
    assert found.value == pytest.approx(values.mean().item())
    assert found.high - found.value == pytest.approx(half)


def test_interval_covers_the_true_ratio_in_95_percent_of_samples():
    # 2000 samples: the standard error of the coverage is .5%. Numerator and denominator are correlated, as SSE and
    # SST are.
    denominator = 1 + 0.3 * draws(2000, 20)
    numerator = 0.5 * denominator + 0.2 * draws(2000, 20, seed=1)
    estimates = [jackknife_ratio(a, b) for a, b in zip(numerator, denominator, strict=True)]
    covered = np.mean([estimate.low <= 0.5 <= estimate.high for estimate in estimates])
    assert 0.935 <= covered <= 0.965


def test_proportional_blocks_have_no_uncertainty():
    denominator = torch.arange(1.0, 6.0).double()
    found = jackknife_ratio(2 * denominator, denominator)
    assert found.ci == pytest.approx((2.0, 2.0))


def test_one_block_has_no_interval():
    with pytest.raises(ValueError, match=r"at least 2 blocks, got 1; use more prompts"):
        jackknife_ratio(torch.ones(1), torch.ones(1))


@pytest.mark.parametrize("n_prompts", [20, 23, 100])
def test_block_sums_add_up_and_blocks_are_nearly_equal(n_prompts):
    sums = block_sums(torch.ones(n_prompts, 3), 20)
    assert sums.shape == (20, 3)
    assert sums.sum() == 3 * n_prompts
    assert sums.max() - sums.min() <= 1


def test_block_sums_accumulate_in_float64():
    # 2^24 + 1 is not a float32, so a float32 sum would stay at 2^24.
    values = torch.tensor([2.0**24, 1.0, 0.0, 0.0])
    assert block_sums(values, 2)[0].item() == 2**24 + 1


def test_an_estimate_reads_as_a_number_with_its_interval():
    assert str(Estimate(0.5, 0.25, 0.75)) == "0.5 [0.25, 0.75]"


def test_a_prediction_interval_holds_one_more_draw_95_times_in_100():
    draws = torch.randn(4000, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    intervals = [prediction_interval(row[:5]) for row in draws]
    held = sum(i.low <= x <= i.high for i, x in zip(intervals, draws[:, 5].tolist(), strict=True)) / len(draws)
    assert abs(held - 0.95) < 0.015  # four standard errors


def test_one_draw_predicts_nothing():
    with pytest.raises(ValueError, match="at least 2 draws, got 1"):
        prediction_interval(torch.zeros(1))


def test_intervals_of_several_values_are_each_ones_own():
    numerator, denominator = noise(12, 2).square(), 1 + noise(12, 2, seed=1).square()
    left_out = (numerator.sum(0) - numerator) / (denominator.sum(0) - denominator)
    found = jackknifed(numerator.sum(0) / denominator.sum(0), left_out)
    for column, estimate in enumerate(found):
        expected = jackknife_ratio(numerator[:, column], denominator[:, column])
        assert (estimate.value, *estimate.ci) == pytest.approx((expected.value, *expected.ci))


@pytest.mark.parametrize("n_prompts", [7, 103])
def test_the_share_of_prompts_is_that_of_blocks_of_them(n_prompts):
    errors, sizes = noise(n_prompts).square(), 1 + noise(n_prompts, seed=1).square()
    n_blocks = min(N_BLOCKS, n_prompts)
    found = share_of_prompts(errors, sizes)
    assert found == share_explained(block_sums(errors, n_blocks), block_sums(sizes, n_blocks))
    assert found.value == pytest.approx(1 - (errors.sum() / sizes.sum()).item())


def test_predictions_in_one_block_alone_have_no_share_to_leave_out():
    assert share_explained(torch.tensor([0.0, 0.5]), torch.tensor([0.0, 1.0])).ci == (0.0, 0.0)


@pytest.mark.parametrize("draws", [[-0.9, 0.1, 0.85, 0.9, -0.2], [0.99, 0.2, 0.95, -0.5, 0.9], [0.5, -1.0, 0.3, 1.0]])
def test_an_interval_of_cosines_stays_where_cosines_are(draws):
    values = torch.tensor(draws, dtype=torch.float64)
    assert prediction_interval(values).high > 1  # what normal theory on the cosines themselves would say
    found = cosine_interval(values)
    assert -1 <= found.low < found.value < found.high <= 1 and found.value == pytest.approx(values.mean().item())
    if values.abs().max() < 1:
        assert found.high < 1


def test_small_cosines_have_the_interval_of_normal_theory():
    values = 0.01 * torch.randn(5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found, plain = cosine_interval(values), prediction_interval(values)
    assert (found.value, *found.ci) == pytest.approx((plain.value, *plain.ci), rel=1e-3)


def test_the_range_of_39_draws_holds_one_more_95_times_in_100_however_skewed():
    draws = torch.rand(4000, N_RANKED + 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64) ** 6
    intervals = [cosine_interval(row[:N_RANKED]) for row in draws]
    held = sum(i.low <= x <= i.high for i, x in zip(intervals, draws[:, -1].tolist(), strict=True)) / len(draws)
    assert abs(held - 0.95) < 0.015
    assert intervals[0].ci == (draws[0, :N_RANKED].min().item(), draws[0, :N_RANKED].max().item())


def test_an_interval_of_cosines_of_random_directions_holds_one_more_19_times_in_20():
    """The cosine of two random vectors, in two to five dimensions: flat or worse, and nothing like normal."""
    rng = torch.Generator().manual_seed(0)
    for n_dims in (2, 3, 5):
        random = torch.randn(4000, 6, n_dims, generator=rng, dtype=torch.float64)
        cosines = random[..., 0] / random.norm(dim=-1)
        held = [
            i.low <= x <= i.high
            for i, x in zip(map(cosine_interval, cosines[:, :5]), cosines[:, 5].tolist(), strict=True)
        ]
        assert sum(held) / len(held) > 0.93


def test_shares_are_squared_cosines_and_none_is_below_zero_or_above_one():
    shares = torch.tensor([0.9, 0.1, -2.0, 0.6, 0.02], dtype=torch.float64)
    found = share_interval(shares)
    assert prediction_interval(shares).high > 1
    cosine = cosine_interval(shares.clamp(min=0).sqrt())
    assert found.value == pytest.approx(1.62 / 5) and found.low == 0
    assert found.high == pytest.approx(cosine.high**2) and found.high < 1
    ranked = share_interval(torch.linspace(-0.5, 0.7, N_RANKED))
    assert ranked.ci == pytest.approx((0, 0.7))


def test_shares_that_are_all_alike_are_their_own_interval():
    found = share_interval(torch.full((5,), 0.25))
    assert (found.value, *found.ci) == pytest.approx((0.25,) * 3)
