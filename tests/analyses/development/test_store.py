import json
from dataclasses import replace

import pytest
import torch

from mesascope.analyses import Claim, Scope, attach
from mesascope.analyses.development import store
from mesascope.analyses.development.store import Measured, Store, fingerprint

CLAIM = Claim("a.b", "A sentence.", 0.5, (0.4, 0.6), None, "so")
SETTINGS = {"n_prompts": 100}


@pytest.fixture(scope="module")
def scope() -> Scope:
    return attach("zoo:lsa-1")


def test_what_is_written_is_read(tmp_path):
    kept = Store(tmp_path)
    for key, measured in (("one", Measured((CLAIM,))), ("two", Measured((), applies=False, error="why"))):
        assert kept.read("name", key) is None
        kept.write("name", key, measured)
        assert kept.read("name", key) == measured


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"claims": [{"id": 1}], "applies": true, "error": ""}'])
def test_what_cannot_be_read_is_measured_again(tmp_path, content):
    kept = Store(tmp_path)
    kept.write("name", "key", Measured((CLAIM,)))
    (file,) = tmp_path.rglob("key.json")
    file.write_text(content)
    assert kept.read("name", "key") is None


def test_numbers_that_json_cannot_hold_are_left_out(tmp_path):
    kept = Store(tmp_path)
    kept.write("name", "key", Measured((replace(CLAIM, null=float("nan")),)))
    assert kept.read("name", "key") == Measured((CLAIM,))
    json.loads(next(tmp_path.rglob("key.json")).read_text(), parse_constant=pytest.fail)


def test_a_store_without_a_folder_keeps_nothing():
    kept = Store(None)
    kept.write("name", "key", Measured((CLAIM,)))
    assert kept.read("name", "key") is None


def test_the_key_hangs_on_all_that_determines_the_numbers(scope, monkeypatch):
    def key(scope: Scope = scope, weights: str = "w", name: str = "n", settings: dict[str, int] = SETTINGS) -> str:
        return Store(None).key(scope, weights, name, settings)

    others = [
        key(scope.reseeded(1)),
        key(weights="v"),
        key(name="m"),
        key(settings={"n_prompts": 101}),
        key(attach("zoo:lsa-1", w_std=2.0)),
        key(attach("zoo:lsa-2")),
    ]
    same = key()
    assert same == key(attach("zoo:lsa-1")) and len({same, *others}) == 1 + len(others)
    for what in ("__version__", "SCHEMA"):
        with monkeypatch.context() as patch:
            patch.setattr(store, what, "other")
            assert key() != same


def test_a_fingerprint_knows_every_weight(scope):
    model = attach("zoo:lsa-1").hooked
    before = fingerprint(Scope(model, scope.task, "a copy"))
    assert before == fingerprint(scope)
    for weight in model.weights.values():
        with torch.no_grad():
            weight.view(-1)[-1] += 1e-3
        after = fingerprint(Scope(model, scope.task, "changed"))
        assert after != before
        before = after
