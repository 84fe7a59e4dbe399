import pytest

from mesascope.analyses.sweep import sweep_checkpoints, write_sweep
from mesascope.analyses.sweep.addresses import OUTPUT, find_checkpoints
from mesascope.models import MesascopeError
from mesascope.models.formats import zoo_names

from .conftest import Here


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


def test_a_name_with_brackets_is_taken_as_it_is_where_it_is_there(runs):
    (runs / "a").rename(runs / "seed[1]")
    (runs / "b-copy").rename(runs / "seed1")  # what [1] would mean as a pattern
    assert find_checkpoints([f"{runs}/seed[1]"]) == [f"{runs}/seed[1]"]
    assert find_checkpoints([f"{runs}/seed[1]@untrained-3"]) == [f"{runs}/seed[1]@untrained-3"]
    assert find_checkpoints([f"{runs}/seed[01]"]) == [f"{runs}/seed1"]
    assert find_checkpoints([f"{runs}/seed[[]*"]) == [f"{runs}/seed[1]"]


def test_a_folder_that_is_called_like_a_step_is_found_by_its_name(runs):
    (runs / "b-copy").rename(runs / "a@step-0")
    assert find_checkpoints([f"{runs}/a*"]) == [f"{runs}/a", f"{runs}/a@step-0"]
    (runs / "a").rename(runs / "[a]@step-0")
    assert find_checkpoints([f"{runs}/[a]@step-0"]) == [f"{runs}/[a]@step-0"]


def test_the_sweeps_own_folder_is_no_checkpoint(runs, monkeypatch):
    before = find_checkpoints([f"{runs}/*"])
    (runs / "sweep" / "checkpoints" / "key").mkdir(parents=True)
    assert find_checkpoints([f"{runs}/*"], runs / "sweep") == before
    assert f"{runs}/sweep" in find_checkpoints([f"{runs}/*"], runs / "other")
    assert f"{runs}/sweep" in find_checkpoints([f"{runs}/sweep"], runs / "sweep")  # asked for by its name
    assert not [path for path in find_checkpoints([f"{runs}/**"], runs / "sweep") if path.startswith(f"{runs}/sweep")]
    monkeypatch.chdir(runs)
    assert find_checkpoints(["*"], "sweep") == ["a", "b-copy", "c-broken", "d-foreign"]


def test_runs_beside_what_a_sweep_writes_are_found(runs):
    before = find_checkpoints([f"{runs}/*"])
    sweep = sweep_checkpoints(f"{runs}/*", runs, ["matching"], executor=Here())
    write_sweep(sweep, runs)
    (runs / "logs").mkdir()
    assert {path.name for path in runs.iterdir()} == {*OUTPUT, "a", "b-copy", "c-broken", "d-foreign"}
    assert find_checkpoints([f"{runs}/*"], runs) == before


def test_a_pattern_that_finds_nothing_but_the_sweep_is_refused(tmp_path):
    (tmp_path / "sweep").mkdir()
    with pytest.raises(MesascopeError, match="matches nothing"):
        find_checkpoints([f"{tmp_path}/*"], tmp_path / "sweep")
