import json

import pytest

from .conftest import GARG


def test_inspect_says_what_a_checkpoint_is(run, tiny_run):
    code, out, err = run("inspect", tiny_run)
    assert code == 0 and err == ""
    assert all(word in out for word in ("A specimen for tests.", "n_dims=2", "linear_regression", "least squares"))
    assert "blocks.0.hook_resid_post" in out


def test_inspect_prints_json_for_machines(run, tiny_run):
    code, out, _ = run("inspect", tiny_run, "--json")
    content = json.loads(out)
    assert code == 0
    assert content["model"]["config"]["d_model"] == 3
    assert content["task"]["n_points"] == 7
    assert "blocks.0.attn.hook_pattern" in content["hooks"]
    assert content["performance"]["claims"]


@pytest.mark.parametrize("w_std", [None, 5**-0.5])
def test_inspect_asks_for_the_scale_of_w_where_it_is_not_recorded(run, w_std):
    code, out, _ = run("inspect", GARG, *([] if w_std is None else ["--w-std", w_std]))
    assert code == 0
    assert ("warning:" in out) is ("state it with --w-std" in out) is (w_std is None)
