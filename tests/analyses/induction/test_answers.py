from itertools import product

import pytest

from mesascope.analyses.induction.answers import all_of, any_of, at_least, at_most, negated, proven
from mesascope.probes import Estimate


@pytest.mark.parametrize(
    "low, high, least, most",
    [(0.5, 0.6, True, None), (0.4, 0.5, None, True), (0.4, 0.6, None, None), (0.1, 0.2, False, True)],
)
def test_an_interval_that_straddles_a_threshold_says_nothing(low, high, least, most):
    estimate = Estimate((low + high) / 2, low, high)
    assert at_least(estimate, 0.5) is least and at_most(estimate, 0.5) is most


@pytest.mark.parametrize("answers", list(product([True, False, None], repeat=3)))
def test_what_follows_is_what_follows_however_the_open_ones_are_settled(answers):
    """Independently: settle every open answer both ways; what always comes out the same is known."""
    settled = list(product(*([True, False] if answer is None else [answer] for answer in answers)))
    for found, rule in ((all_of(*answers), all), (any_of(*answers), any)):
        outcomes = {rule(case) for case in settled}
        assert found is (outcomes.pop() if len(outcomes) == 1 else None)


def test_of_nothing_all_hold_and_none_does():
    assert all_of() is True and any_of() is False


def test_only_a_no_or_a_yes_is_turned_round():
    assert [negated(answer) for answer in (True, False, None)] == [False, True, None]
    assert proven(True) is True and proven(False) is None
