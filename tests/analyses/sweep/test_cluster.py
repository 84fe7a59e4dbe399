"""Through submitit: its own executors everywhere, a real Slurm where there is one."""

import shutil
import subprocess
import sys

import pytest

from mesascope.analyses.sweep import Cluster, sweep
from mesascope.analyses.sweep.job import STARTING
from mesascope.models import MesascopeError

from .conftest import CHEAP, Here


def slurm_answers():
    return shutil.which("sinfo") is not None and subprocess.run(["sinfo"], capture_output=True).returncode == 0


def fail(job):
    raise IndexError("a mistake\nof ours")


def test_jobs_go_through_submitit(runs, tmp_path):
    """In this process, as it does for debugging."""
    cluster = Cluster(tmp_path / "logs", "debug", poll_s=0.01)
    result = sweep(f"{runs}/*", tmp_path / "out", CHEAP[1:], 80, executor=cluster)
    assert [row.state for row in result.rows] == ["done", "copy", "failed", "failed"]
    expected = sweep(f"{runs}/*", tmp_path / "here", CHEAP[1:], 80, executor=Here())
    assert [row.headlines for row in result.rows] == [row.headlines for row in expected.rows]


@pytest.mark.slow
@pytest.mark.parametrize(
    "cluster",
    ["local", pytest.param("slurm", marks=pytest.mark.skipif(not slurm_answers(), reason="no Slurm answers here"))],
)
def test_jobs_run_in_processes_of_the_cluster(runs, tmp_path, cluster):
    executor = Cluster(tmp_path / "logs", cluster, n_jobs=1, minutes=5, poll_s=0.5)
    result = sweep(f"{runs}/*", tmp_path / "out", CHEAP[1:], 80, executor=executor)
    assert [row.state for row in result.rows] == ["done", "copy", "failed", "failed"]
    assert list((tmp_path / "logs").rglob("*_log.out"))


@pytest.mark.slow
def test_a_task_that_fails_is_an_error_of_its_checkpoint(runs, tmp_path, monkeypatch):
    monkeypatch.setattr("mesascope.analyses.sweep.sweep.measure", fail)
    executor = Cluster(tmp_path / "logs", "local", poll_s=0.1)
    result = sweep(f"{runs}/a", tmp_path / "out", CHEAP[1:], 80, executor=executor)
    assert "a mistake of ours" in result.rows[0].errors[STARTING]


def test_a_cluster_that_is_not_there_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MesascopeError, match="there is no 'slurm' cluster here .*; start on a node that can submit"):
        Cluster(tmp_path / "logs")
    with pytest.raises(MesascopeError, match="there is no 'cloud' cluster here"):
        Cluster(tmp_path / "logs", "cloud")


def test_a_cluster_that_takes_no_jobs_is_refused(runs, tmp_path, monkeypatch):
    """sbatch is there, its controller is not."""
    for name in ("srun", "sbatch"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text("#!/bin/sh\necho 'Unable to contact slurm controller' >&2\nexit 1\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    with pytest.raises(MesascopeError, match="slurm takes no jobs: .*Unable to contact slurm controller"):
        sweep(f"{runs}/a", tmp_path / "out", CHEAP[1:], 80, executor=Cluster(tmp_path / "logs"))


def test_submitit_is_asked_for_where_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(MesascopeError, match=r"pip install 'mesascope\[cluster\]'"):
        Cluster(tmp_path / "logs")
