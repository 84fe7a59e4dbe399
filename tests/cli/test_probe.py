import json

import pytest

from .conftest import is_one_line_error


def test_probe_prints_a_table(run, tiny_run):
    code, out, err = run("probe", tiny_run, "--prompts", "400")
    assert code == 0 and err == ""
    assert all(word in out for word in ("layer 1", "shuffled", "untrained", "decodable"))


@pytest.mark.parametrize("target", ["y", "w", "w_ols"])
def test_probe_prints_json_for_machines(run, tiny_run, target):
    code, out, err = run("probe", tiny_run, "--json", "--prompts", "400", "--target", target)
    assert code == 0 and err == ""
    content = json.loads(out)
    assert content["data"]["target"] == target
    assert [layer["label"] for layer in content["data"]["layers"]] == ["input", "layer 1"]
    assert len(content["claims"]) == 2


def test_probe_names_the_nearest_target(run, tiny_run):
    code, _, err = run("probe", tiny_run, "--target", "w_osl")
    assert code == 1 and is_one_line_error(err, "'w_osl'; did you mean 'w_ols'?")
