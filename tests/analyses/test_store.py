import json

import pytest
import torch

from mesascope.analyses import attach
from mesascope.analyses import store as stored
from mesascope.analyses.registry import ANALYSES
from mesascope.analyses.selection import choose_analyses
from mesascope.analyses.store import Store, content_key, fingerprint
from mesascope.models import MesascopeError

from .conftest import decoder


def test_what_is_written_is_read_and_nothing_else(tmp_path):
    store = Store(tmp_path / "new")
    store.write({"value": 1.5, "nothing": float("nan")}, "key", "analysis")
    assert store.read("key", "analysis") == {"value": 1.5, "nothing": None}
    assert store.read("key", "other") is None and store.read("other", "analysis") is None
    assert json.loads((tmp_path / "new" / "key" / "analysis.json").read_text())["value"] == 1.5


def test_no_folder_keeps_nothing():
    store = Store(None)
    store.write({"value": 1}, "key")
    assert store.read("key") is None


def test_what_was_cut_short_is_not_there(tmp_path):
    (tmp_path / "key.json").write_text('{"value": 1')
    assert Store(tmp_path).read("key") is None


def test_a_name_with_a_dot_keeps_it(tmp_path):
    Store(tmp_path).write({}, "version-1.5")
    assert (tmp_path / "version-1.5.json").exists()


def test_any_change_of_a_weight_changes_the_fingerprint():
    scope = attach(decoder())
    before = fingerprint(scope)
    assert before == fingerprint(attach(decoder()))
    with torch.no_grad():
        next(scope.hooked.parameters()).view(-1)[0] += 1e-6
    assert fingerprint(scope) != before


def test_a_key_depends_on_all_that_determines_the_numbers(tiny_run, monkeypatch):
    def key(seed=0, w_std=None, **settings):
        scope = attach(tiny_run, seed=seed, w_std=w_std)
        return content_key(scope, fingerprint(scope), **settings)

    keys = [key(), key(seed=1), key(w_std=2.0), key(n_prompts=10), key(n_prompts=20)]
    assert len(set(keys)) == len(keys) and key() == keys[0]
    monkeypatch.setattr(stored, "__version__", "other")
    assert key() not in keys


def test_analyses_are_chosen_by_name_in_the_order_of_the_report():
    assert list(choose_analyses(["matching", "performance"], ())) == ["performance", "matching"]
    assert list(choose_analyses(None, ("readouts",))) == list(choose_analyses([], ("readouts",))) == ["readouts"]
    assert list(choose_analyses(["all"], ())) == list(choose_analyses("all", ())) == list(ANALYSES)
    assert list(choose_analyses("matching", ())) == ["matching"]


def test_an_unknown_analysis_is_refused_with_the_nearest():
    with pytest.raises(MesascopeError, match="no analysis is called 'machting'; did you mean 'matching'"):
        choose_analyses(["machting"], ())


def test_a_name_near_nothing_is_refused_with_all_of_them_each_once():
    with pytest.raises(MesascopeError) as refused:
        choose_analyses("zzzzzz", ())
    assert str(refused.value) == f"no analysis is called 'zzzzzz'; known: {', '.join([*ANALYSES, 'all'])}"
