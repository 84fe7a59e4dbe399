import json
from dataclasses import replace

import pytest

from mesascope.analyses import Claim
from mesascope.analyses.development.measured import Measured
from mesascope.analyses.store import Store

CLAIM = Claim("a.b", "A sentence.", 0.5, (0.4, 0.6), None, "so")


def test_what_is_written_is_read(tmp_path):
    kept = Store(tmp_path)
    for key, measured in (("one", Measured((CLAIM,))), ("two", Measured((), applies=False, error="why"))):
        assert Measured.read(kept, "name", key) is None
        measured.write(kept, "name", key)
        assert Measured.read(kept, "name", key) == measured


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"claims": [{"id": 1}], "applies": true, "error": ""}'])
def test_what_cannot_be_read_is_measured_again(tmp_path, content):
    kept = Store(tmp_path)
    Measured((CLAIM,)).write(kept, "name", "key")
    (file,) = tmp_path.rglob("key.json")
    file.write_text(content)
    assert Measured.read(kept, "name", "key") is None


def test_numbers_that_json_cannot_hold_are_left_out(tmp_path):
    kept = Store(tmp_path)
    Measured((replace(CLAIM, null=float("nan")),)).write(kept, "name", "key")
    assert Measured.read(kept, "name", "key") == Measured((CLAIM,))
    json.loads(next(tmp_path.rglob("key.json")).read_text(), parse_constant=pytest.fail)
