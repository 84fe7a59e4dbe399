from itertools import count

import pytest

from mesascope.models.learners.steps import at_steps


@pytest.mark.parametrize("steps", [[0, 1, 2], [3], [0, 5, 5, 7], []])
def test_the_iterates_are_those_asked_for_and_no_later_one_is_computed(steps):
    computed = []

    def iterates():
        for k in count():
            computed.append(k)
            yield k

    assert list(at_steps(iterates(), steps)) == steps
    assert computed == list(range(max(steps, default=-1) + 1))
