import json

import pytest

from mesascope.models.formats import zoo_names


@pytest.mark.skipif(not zoo_names(), reason="the zoo is filled by `make zoo`")
def test_zoo_lists_every_specimen_in_a_narrow_terminal(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, err = run("zoo")
    assert code == 0 and err == ""
    assert all(f" {name} " in out for name in zoo_names())
    assert all(heading in out for heading in ("zoo:", "layers", "task", "loss", "reference"))
    assert "squares" in out.split()  # words stay whole


@pytest.mark.skipif(not zoo_names(), reason="the zoo is filled by `make zoo`")
def test_zoo_prints_json_for_machines(run):
    rows = json.loads(run("zoo", "--json")[1])
    assert [row["name"] for row in rows] == [f"zoo:{name}" for name in zoo_names()]
    assert all(row["about"] and row["kind"] and row["reference"] for row in rows)
    assert all(isinstance(row["loss"], float) and isinstance(row["reference_loss"], float) for row in rows)
