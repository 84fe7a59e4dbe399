import pytest

from mesascope.analyses.sweep.addresses import find_checkpoints
from mesascope.models import MesascopeError
from mesascope.models.formats import zoo_names


def test_folders_are_found_sorted_and_once(runs):
    names = ["a", "b-copy", "c-broken", "d-foreign"]
    assert find_checkpoints([f"{runs}/*"]) == [f"{runs}/{name}" for name in names]
    assert find_checkpoints([f"{runs}/b*", f"{runs}/*"])[:2] == [f"{runs}/b-copy", f"{runs}/a"]
    assert f"{runs}/a" in find_checkpoints([f"{runs.parent}/**/a"])


def test_steps_and_twins_are_asked_of_each(runs):
    assert find_checkpoints([f"{runs}/[ab]*@step-0@untrained-3"]) == [
        f"{runs}/a@step-0@untrained-3",
        f"{runs}/b-copy@step-0@untrained-3",
    ]


def test_the_zoo_is_found_by_name():
    assert find_checkpoints(["zoo:*"]) == [f"zoo:{name}" for name in zoo_names()]
    assert find_checkpoints(["zoo:lsa-[12]"]) == ["zoo:lsa-1", "zoo:lsa-2"]


def test_what_is_no_pattern_is_taken_as_it_is():
    """Whether it is there, loading says: a line of the table, not the end of the sweep."""
    assert find_checkpoints(["nowhere", "hf://some/model"]) == ["nowhere", "hf://some/model"]


@pytest.mark.parametrize("pattern", ["nowhere/*", "zoo:gpt-*"])
def test_a_pattern_without_a_match_is_refused(pattern):
    with pytest.raises(MesascopeError, match="matches nothing; expected run folders"):
        find_checkpoints([pattern])
