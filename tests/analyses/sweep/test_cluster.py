"""Through submitit: its own executors everywhere, a real Slurm where there is one."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from mesascope.analyses.sweep import Cluster, sweep_checkpoints
from mesascope.analyses.sweep.job import STARTING, Job, Settings
from mesascope.models import MesascopeError

from .conftest import CHEAP, Here


def slurm_answers():
    return shutil.which("sinfo") is not None and subprocess.run(["sinfo"], capture_output=True).returncode == 0


def fail(job):
    raise IndexError("a mistake\nof ours")


def test_jobs_go_through_submitit(runs, tmp_path):
    """In this process, as it does for debugging."""
    cluster = Cluster(tmp_path / "logs", "debug", poll_s=0.01)
    result = sweep_checkpoints(f"{runs}/*", tmp_path / "out", CHEAP[1:], 80, executor=cluster)
    assert [row.state for row in result.rows] == ["done", "copy", "failed", "failed"]
    expected = sweep_checkpoints(f"{runs}/*", tmp_path / "here", CHEAP[1:], 80, executor=Here())
    assert [row.headlines for row in result.rows] == [row.headlines for row in expected.rows]


@pytest.mark.slow
@pytest.mark.parametrize(
    "cluster",
    ["local", pytest.param("slurm", marks=pytest.mark.skipif(not slurm_answers(), reason="no Slurm answers here"))],
)
def test_jobs_run_in_processes_of_the_cluster(runs, tmp_path, cluster):
    executor = Cluster(tmp_path / "logs", cluster, n_jobs=1, minutes=5, poll_s=0.5)
    result = sweep_checkpoints(f"{runs}/*", tmp_path / "out", CHEAP[1:], 80, executor=executor)
    assert [row.state for row in result.rows] == ["done", "copy", "failed", "failed"]
    assert list((tmp_path / "logs").rglob("*_log.out"))


def kill(job):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.skipif(not slurm_answers(), reason="no Slurm answers here")
def test_a_task_that_is_killed_is_an_error_of_its_checkpoint(runs, tmp_path, monkeypatch):
    monkeypatch.setattr("mesascope.analyses.sweep.sweep.measure", kill)
    monkeypatch.setattr("mesascope.analyses.sweep.cluster.LOST_S", 2.0)
    result = sweep_checkpoints(
        f"{runs}/a", tmp_path / "out", CHEAP[1:], 80, executor=Cluster(tmp_path / "logs", poll_s=0.5)
    )
    assert "left the queue without an answer" in result.rows[0].errors[STARTING]


@pytest.mark.slow
def test_a_task_that_fails_is_an_error_of_its_checkpoint(runs, tmp_path, monkeypatch):
    monkeypatch.setattr("mesascope.analyses.sweep.sweep.measure", fail)
    executor = Cluster(tmp_path / "logs", "local", poll_s=0.1)
    result = sweep_checkpoints(f"{runs}/a", tmp_path / "out", CHEAP[1:], 80, executor=executor)
    assert "a mistake of ours" in result.rows[0].errors[STARTING]


JOB = Job("a", "key", Settings(()), Path("/nowhere"))


class Task:
    """As submitit knows it; it never answers."""

    job_id = "7_0"

    def __init__(self, folder):
        self.folder, self.cancelled = folder, False

    @property
    def paths(self):
        return SimpleNamespace(result_pickle=self.folder / "none.pkl", stderr=self.folder / "7_0_log.err")

    def cancel(self):
        self.cancelled = True


@pytest.fixture
def deaf(tmp_path, monkeypatch):
    """A Slurm whose task never answers, and a queue in a file."""
    for name in ("srun", "squeue"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\ncat {tmp_path}/queue\n")
        program.chmod(0o755)
    (tmp_path / "queue").write_text("6\n7_0\n")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    monkeypatch.setattr("mesascope.analyses.sweep.cluster.LOST_S", 0.5)
    cluster, task = Cluster(tmp_path / "logs", poll_s=0.1), Task(tmp_path)
    monkeypatch.setattr(cluster._executor, "map_array", lambda work, jobs: [task])
    return cluster, task


def test_a_task_that_left_the_queue_without_an_answer_is_lost(deaf, tmp_path):
    cluster, task = deaf
    (tmp_path / "queue").write_text("6\n")
    ((job, errors),) = cluster.run(fail, [JOB])
    assert job == JOB and "task 7_0 left the queue without an answer" in errors[STARTING]
    assert not task.cancelled


def test_a_task_that_is_queued_or_cannot_be_asked_for_is_waited_for_and_cancelled_at_the_end(deaf, tmp_path):
    cluster, task = deaf
    looks = []

    def look(seconds):
        looks.append(cluster._queue())
        if len(looks) == 2:
            (tmp_path / "queue").unlink()  # the controller does not answer for a while
        if len(looks) == 4:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("mesascope.analyses.sweep.cluster.time.sleep", look)
        list(cluster.run(fail, [JOB]))
    assert looks[0] == {"6", "7_0"} and looks[3] is None and task.cancelled


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
    with pytest.raises(MesascopeError, match="takes no jobs: .*Unable to contact slurm controller; look with sinfo"):
        sweep_checkpoints(f"{runs}/a", tmp_path / "out", CHEAP[1:], 80, executor=Cluster(tmp_path / "logs"))


def test_submitit_is_asked_for_where_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(MesascopeError, match=r"pip install 'mesascope\[cluster\]'"):
        Cluster(tmp_path / "logs")
