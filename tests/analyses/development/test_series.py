import pytest
import torch

from mesascope.analyses.development.series import _standard_error
from mesascope.analyses.induction.reading import absolute
from mesascope.probes import Estimate


@pytest.mark.parametrize("value", [0.0, 0.01, -0.03, 0.2, -0.7])
def test_an_absolute_value_has_the_standard_error_of_the_signed_number(value):
    """Though its interval ends at zero, which is half of it for a number that is about zero."""
    signed = Estimate(value, value - 0.1, value + 0.1)
    assert _standard_error(absolute(signed)) == pytest.approx(0.1 / 1.959964)


def test_the_standard_error_is_that_of_draws():
    draws = torch.randn(200_000, generator=torch.Generator().manual_seed(0)).double()
    low, high = draws.quantile(torch.tensor([0.025, 0.975]).double()).tolist()
    assert _standard_error(Estimate(0.0, low, high)) == pytest.approx(1, rel=0.02)


def test_of_an_uneven_interval_the_longer_side_counts():
    assert _standard_error(Estimate(1.0, 0.5, 3.0)) == _standard_error(Estimate(1.0, -1.0, 3.0))
