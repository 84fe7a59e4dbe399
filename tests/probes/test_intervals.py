import pytest
import torch

from mesascope.probes import block_sums, jackknife_ratio, jackknifed, share_explained, share_of_prompts
from mesascope.probes.intervals import N_BLOCKS
from tests.probes.prompts import noise


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
