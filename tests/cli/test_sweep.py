import json
import shutil

import pytest

from mesascope.analyses import sweep as package

from .conftest import Here, is_one_line_error

CHEAP = ("--analysis", "matching", "--prompts", "80")


@pytest.fixture(autouse=True)
def here(monkeypatch):
    monkeypatch.setattr(package, "LocalProcesses", Here)


def test_sweep_prints_a_table_and_says_where_the_files_are(run, tiny_run, tmp_path):
    code, out, err = run("sweep", tiny_run, f"{tiny_run}@untrained-3", "--out", tmp_path, *CHEAP)
    assert code == 0 and err == ""
    assert "2 of 2 checkpoints were measured." in out and "1 step of GD" in out
    for name in ("report.html", "summary.json", "summary.csv", "claims.csv"):
        assert str(tmp_path / name) in out and (tmp_path / name).exists()
    assert Here.asked["arguments"] == (None,)


def test_sweep_fails_and_says_which_after_all_others_are_done(run, tiny_run, tmp_path):
    shutil.copytree(tiny_run, tmp_path / "runs" / "whole")
    (tmp_path / "runs" / "empty").mkdir()
    arguments = (f"{tmp_path}/runs/*", "--out", tmp_path / "out", *CHEAP, "--jobs", "3")
    code, out, err = run("sweep", *arguments)
    assert code == 1 and "1 of 2 checkpoints were measured" in " ".join(out.split()) and "failed" in out
    assert err.startswith(f"failed: {tmp_path}/runs/empty is not whole: loading: ") and err.count("\n") == 1
    assert Here.asked["arguments"] == (3,)
    code, out, err = run("sweep", *arguments, "--json")
    content = json.loads(out)
    assert code == 1 and content["data"]["n_run"] == 0 and len(content["data"]["rows"]) == 2


def test_sweep_warns_of_what_its_analyses_warn_of_and_does_not_fail(run, tiny_run, tmp_path, monkeypatch):
    monkeypatch.setattr(package.Sweep, "warnings", ("runs/a: beware",))
    code, _, err = run("sweep", tiny_run, "--out", tmp_path, *CHEAP)
    assert code == 0 and err == "warning: runs/a: beware\n"


def test_sweep_prints_a_name_that_is_no_utf_8(run, tmp_path):
    code, out, err = run("sweep", b"caf\xe9".decode(errors="surrogateescape"), "--out", tmp_path, *CHEAP)
    assert code == 1 and r"caf\udce9" in out and r"failed: caf\udce9 is not whole" in err


def test_sweep_submits_to_a_cluster(run, tiny_run, tmp_path, monkeypatch):
    monkeypatch.setattr(package, "Cluster", Here)
    options = ("--cluster", "slurm", "--partition", "cpu", "--minutes", "5", "--cpus", "2", "--jobs", "7")
    code, _, _ = run("sweep", tiny_run, "--out", tmp_path, *CHEAP, *options)
    assert code == 0 and Here.asked["arguments"] == (tmp_path / "logs", "slurm", 7, "cpu", 5, 2)


@pytest.mark.parametrize(
    "arguments, parts",
    [
        (("nowhere/*",), ("'nowhere/*' matches nothing",)),
        (("zoo:lsa-1", "--analysis", "machting"), ("did you mean 'matching'",)),
        (("zoo:lsa-1", "--cluster", "cloud"), ("there is no 'cloud' cluster here",)),
        (("zoo:lsa-1", "--partition", "gpu", "--minutes", "60"), ("--partition, --minutes: of a", "--cluster slurm")),
        (("zoo:lsa-1", "--cpus", "2"), ("--cpus: of a cluster, but the sweep runs here",)),
    ],
    ids=["nothing", "unknown analysis", "no cluster", "partition", "cpus"],
)
def test_what_cannot_be_swept_is_refused_in_a_line(run, tmp_path, arguments, parts):
    code, _, err = run("sweep", *arguments, "--out", tmp_path)
    assert code == 1 and is_one_line_error(err, *parts)


def test_a_folder_that_cannot_be_written_is_refused(run, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, err = run("sweep", "zoo:lsa-1", "--out", tmp_path / "file" / "out")
    assert code == 1 and is_one_line_error(err, "cannot write to")
