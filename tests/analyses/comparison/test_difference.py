import math

import numpy as np
import pytest
from scipy.stats import false_discovery_control
from scipy.stats import t as student_t

from mesascope.analyses import Claim
from mesascope.analyses.comparison.difference import (
    DIFFERS,
    NONE,
    OPEN,
    SAME,
    Difference,
    adjusted,
    difference_of,
    subtract,
    why_not,
)
from mesascope.probes import Estimate

T95 = student_t.ppf(0.975, 19)


def estimate(value, half):
    return Estimate(value, value - half, value + half)


def difference(delta, values=(1.0, 1.0), same=False, q=None, null=0.0):
    return Difference("a.b", "a: b", "mine", "theirs", values, delta, null, same, q)


def test_symmetric_intervals_subtract_by_adding_variances():
    found = subtract(estimate(3.0, 0.3), estimate(1.0, 0.4))
    assert found.value == 2.0
    assert found.ci == pytest.approx((1.5, 2.5))


def test_a_number_without_error_shifts_the_other_and_its_lopsided_interval():
    lopsided = Estimate(0.9, 0.5, 0.95)
    assert subtract(lopsided, estimate(0.2, 0.0)).ci == pytest.approx((0.3, 0.75))
    assert subtract(estimate(0.2, 0.0), lopsided).ci == pytest.approx((-0.75, -0.3))


def test_intervals_cover_and_are_too_wide_for_errors_in_common():
    rng = np.random.default_rng(0)
    n, scale = 4000, np.array([0.5, 2.0])

    def covered(common):
        shared, own = rng.normal(size=(n, 1)), rng.normal(size=(n, 2))
        errors = scale * (np.sqrt(common) * shared + np.sqrt(1 - common) * own)
        spread = scale * np.sqrt(rng.chisquare(19, size=(n, 2)) / 19)  # each from 20 blocks
        found = [
            subtract(estimate(a, T95 * s), estimate(b, T95 * t)) for (a, b), (s, t) in zip(errors, spread, strict=True)
        ]
        return np.mean([low <= 0 <= high for low, high in (f.ci for f in found)])

    assert 0.94 <= covered(common=0.0) <= 0.97
    assert covered(common=0.9) > 0.97


@pytest.mark.parametrize("sign", [1, -1])
def test_p_is_five_in_a_hundred_where_the_interval_ends_at_zero(sign):
    ends = Estimate(sign * 1.0, *sorted((0.0, sign * 5.0)))
    assert difference(ends).p == pytest.approx(0.05)
    assert difference(estimate(sign * 1.0, 2.0)).p > 0.05 > difference(estimate(sign * 1.0, 0.9)).p


def test_p_of_what_has_no_width_is_one_or_nothing():
    assert difference(estimate(0.0, 0.0)).p == 1.0
    assert difference(estimate(0.1, 0.0)).p == 0.0
    assert difference(0.1).p is None


def test_what_is_the_same_differs_in_nothing():
    found = difference(estimate(0.0, 1.0), same=True)
    claim = found.claim()
    assert (claim.verdict, claim.value, claim.ci) == (SAME, 0.0, (0.0, 0.0))
    assert found.p == 1.0 and found.bound == 0.0 and "nothing lies between" in found.text


@pytest.mark.parametrize(
    "delta, q, verdict",
    [
        (estimate(0.1, 0.01), 0.01, DIFFERS),
        (estimate(0.1, 0.09), 0.2, OPEN),  # leaves zero, but so would one of the others by chance
        (estimate(0.01, 0.02), 0.9, NONE),  # below 5% of 1
        (estimate(0.01, 0.06), 0.9, OPEN),
        (0.1, None, OPEN),
    ],
)
def test_verdicts_follow_from_all_and_from_the_size_of_the_number(delta, q, verdict):
    found = difference(delta, q=q)
    assert found.verdict == verdict
    assert ("higher by 0.1" in found.text) == (verdict == DIFFERS)
    assert found.data()["verdict"] == found.claim().verdict == verdict


def test_smallness_is_measured_from_the_null():
    """An R² of .9 where shuffled targets give .88 is a small number."""
    delta = estimate(0.0, 0.01)
    assert difference(delta, (0.9, 0.9), q=1.0).verdict == NONE
    assert difference(delta, (0.9, 0.9), q=1.0, null=0.88).verdict == OPEN


def test_a_lower_number_is_called_lower():
    assert "lower by 0.5" in difference(estimate(-0.5, 0.1), q=0.001).text


def test_adjusting_counts_what_was_looked_at_alone():
    looked = [difference(estimate(1.0, half)) for half in (0.3, 0.5, 2.0)]
    others = [difference(estimate(0.0, 1.0), same=True), difference(0.3)]
    found = adjusted([others[0], *looked, others[1]])
    assert [d.q for d in found[1:4]] == pytest.approx(false_discovery_control([d.p for d in looked], method="by"))
    assert found[0].q is None and found[4].q is None
    assert adjusted(others) == others


def test_chance_is_named_in_few_comparisons_and_a_planted_difference_in_all():
    rng = np.random.default_rng(1)

    def named(planted):
        deltas = rng.normal(size=20)
        deltas[0] += planted
        halves = T95 * np.sqrt(rng.chisquare(19, size=20) / 19)
        found = adjusted([difference(estimate(d, h)) for d, h in zip(deltas, halves, strict=True)])
        return [d.verdict == DIFFERS for d in found]

    assert sum(any(named(0.0)) for _ in range(200)) <= 10
    assert sum(named(8.0)[0] for _ in range(50)) >= 48


def test_bounds_are_infinite_without_an_interval():
    assert difference(0.3).bound == math.inf
    assert difference(estimate(-0.3, 0.1)).bound == pytest.approx(0.4)


def claimed(value, ci=None, verdict="GD", analysis="identification"):
    return Claim(f"{analysis}.output", "", value, ci, 0.0, verdict)


NAMES = ("mine", "theirs")


@pytest.mark.parametrize(
    "mine, theirs, why",
    [
        (claimed(0.99), claimed(0.4), None),
        (None, claimed(None), None),  # two sentences without a number: there is nothing to subtract
        (claimed(0.99), None, "theirs has no such number"),
        (claimed(None), claimed(0.4), "mine has no such number"),
        (claimed(math.nan), claimed(0.4), "not finite in mine"),
        (claimed(0.99), claimed(math.inf), "not finite in theirs"),
        (claimed(0.99), claimed(0.4, verdict="no algorithm"), "of another kind, for the verdicts differ"),
        (claimed(0.99, analysis="matching"), claimed(0.4, verdict="none", analysis="matching"), None),
    ],
)
def test_what_is_not_subtracted_has_a_reason(mine, theirs, why):
    assert why_not(mine, theirs, NAMES, ("identification",)) == why


def test_an_interval_that_ends_in_nan_is_none_and_is_not_adjusted():
    found = difference_of(claimed(0.9, (math.nan, 1.0)), claimed(0.4, (0.3, 0.5)), "a: b", NAMES)
    assert found.delta == 0.5 and found.p is None
    whole = difference_of(claimed(0.9, (0.8, 1.0)), claimed(0.4, (0.3, 0.5)), "a: b", NAMES)
    assert [d.q for d in adjusted([found, whole])] == [None, pytest.approx(whole.p)]


def test_numbers_of_one_model_are_the_same_with_an_interval_or_without():
    for ci in (None, (0.8, 1.0), (math.nan, math.nan)):
        assert difference_of(claimed(0.9, ci), claimed(0.9, ci), "a: b", NAMES).verdict == SAME
    assert difference_of(claimed(0.9), claimed(0.8), "a: b", NAMES, identical=True).verdict == SAME
    assert difference_of(claimed(0.9), claimed(0.8), "a: b", NAMES).verdict == OPEN
