import math

import pytest
import torch

from mesascope.analyses.causality.cause import Cause, _read_and_used, _spread
from mesascope.analyses.causality.claims import cause_claim
from mesascope.analyses.causality.tracing import Tally
from mesascope.probes import Estimate

NOTHING = Estimate(0.0, -0.01, 0.01)


def near(value, half=0.02):
    return Estimate(value, value - half, value + half)


def cause(r2=0.9, alone=0.8, as_read=0.9, *, placebo=NOTHING, untrained=NOTHING, untrained_r2=NOTHING, held=()):
    slopes = {name: near(slope) for name, slope in (("alone", alone), ("as read", as_read)) if slope is not None}
    if placebo is not None:
        slopes["placebo"] = placebo
    return Cause("w", "all tokens", 2, near(r2), NOTHING, untrained_r2, held, 0.5, slopes, None, untrained)


@pytest.mark.parametrize(
    "given, verdict",
    [
        ({"r2": 0.02}, "not decodable"),
        ({"r2": 0.06}, "undetermined"),
        ({}, "used"),
        ({"alone": 0.4, "as_read": 0.9}, "partly used"),
        ({"alone": 0.51, "as_read": 0.9}, "at least partly used"),
        ({"alone": 0.05, "as_read": 0.05}, "decodable but not used"),
        ({"alone": 0.09, "as_read": 0.09}, "undetermined"),
        ({"alone": 0.8, "as_read": 0.4}, "partly used"),
        ({"alone": -0.9, "as_read": -0.9}, "undetermined"),
        ({"alone": -0.3, "as_read": -0.05}, "undetermined"),
        ({"alone": -0.05, "as_read": -0.05}, "decodable but not used"),
        ({"alone": 0.4, "placebo": near(0.39)}, "undetermined"),
        ({"alone": 0.4, "untrained": near(0.5)}, "undetermined"),
        ({"alone": 0.0, "as_read": 0.0}, "decodable but not used"),
        ({"alone": 0.0, "as_read": 0.2}, "undetermined"),
        ({"alone": 0.0, "as_read": 0.0, "untrained_r2": near(0.95)}, "no more than untrained"),
        ({"alone": 0.0, "as_read": 0.0, "untrained_r2": None}, "decodable but not used"),
        ({"alone": None, "as_read": None}, "not told apart"),
        ({"alone": math.nan, "as_read": math.nan}, "undetermined"),
        ({"alone": 0.0, "as_read": 0.0, "untrained_r2": near(0.87)}, "undetermined"),
        ({"alone": 0.04, "as_read": None}, "decodable but not used"),
        ({"alone": 0.04, "as_read": None, "r2": 0.1}, "partly used"),
    ],
)
def test_the_verdict_is_what_both_slopes_and_every_null_allow(given, verdict):
    assert cause(**given).verdict == verdict


def test_a_null_that_was_not_measured_is_no_null_and_is_said():
    found = cause(placebo=None, untrained=None, untrained_r2=None)
    assert found.null == 0.0 and found.verdict == "used"
    assert cause_claim(found).text.count("not measured") == 5  # twins' R² and slope, and three controls


def test_both_slopes_are_in_the_sentence():
    assert "slope 0.400 (0.900 of what the reading predicts;" in cause_claim(cause(alone=0.4)).text


@pytest.mark.parametrize(
    "held, said",
    [(("b", "S"), "is not in what is read of b and S: it cannot be moved alone"), ((), "what is read does not vary")],
)
def test_what_cannot_be_moved_says_why(held, said):
    assert said in cause_claim(cause(alone=None, as_read=None, held=held)).text


def test_a_run_that_leaves_all_numbers_is_said_to():
    claim = cause_claim(cause(alone=math.nan))
    assert "moved alone the prediction leaves all numbers" in claim.text
    assert (claim.value, claim.ci, claim.verdict) == (None, None, "undetermined")


def twin(change):
    """An untrained twin whose readout is exact, and whose prediction moves so."""
    tally, z = Tally(), torch.eye(2, dtype=torch.float64)
    tally.errors[:2], tally.totals[:2] = 0.5, 1.0
    for block in range(2):
        tally.move("alone", block, z, torch.tensor([change, 0.0], dtype=torch.float64))
    return tally


@pytest.mark.parametrize(
    "changes, expected", [((3.0, -3.0, math.nan), 0.0), ((3.0, 3.0), 0.5), ((3.0, math.nan), None)]
)
def test_a_twin_counts_no_more_than_what_is_read_and_not_at_all_if_it_leaves_all_numbers(changes, expected):
    found = _spread([_read_and_used(twin(change)) for change in changes])
    assert (found if found is None else found.value) == (expected if expected is None else pytest.approx(expected))
