"""Real processes: what dies takes its own job with it."""

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mesascope.analyses.sweep import LocalProcesses
from mesascope.analyses.sweep.job import STARTING, Job, Settings
from mesascope.analyses.sweep.processes import _Worker, n_cores
from mesascope.models import MesascopeError


def job(source):
    return Job(source, source, Settings(()), Path("/nowhere"))


def work(job):
    if job.source == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if job.source == "left":
        os._exit(3)
    return {"process": str(os.getpid()), "threads": str(torch.get_num_threads())}


@pytest.mark.slow
def test_a_process_that_dies_takes_only_its_own_job(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("mesascope.analyses.sweep.processes.n_cores", lambda: 2)
    sources = ["a", "killed", "b", "left", "c", "d"]
    found = {done.source: errors for done, errors in LocalProcesses(2).run(work, [job(source) for source in sources])}
    assert sorted(found) == sorted(sources)
    assert "ended by signal 9, perhaps for lack of memory" in found["killed"][STARTING]
    assert "left with exit status 3" in found["left"][STARTING] and "memory" not in found["left"][STARTING]
    alive = [found[source] for source in "abcd"]
    assert {errors["threads"] for errors in alive} == {"1"}  # two cores for two processes
    assert len({errors["process"] for errors in alive}) < len(alive)  # one process took several
    assert os.getpid() not in {int(errors["process"]) for errors in alive}
    assert not multiprocessing.active_children()


def test_a_caller_that_stops_leaves_no_process():
    running = LocalProcesses(1).run(work, [job("a"), job("b")])
    next(running)
    assert multiprocessing.active_children()
    del running  # as where a caller's loop ends early
    assert not multiprocessing.active_children()


def test_an_idle_process_that_was_killed_is_found_out_at_its_next_job():
    worker = _Worker(None)
    worker._process.kill()
    worker._process.join()
    worker.give(work, job("a"))
    assert worker.answer() is None and "signal 9" in worker.end
    worker.stop()


@pytest.mark.parametrize(
    "status, parts",
    [
        (-9, ("ended by signal 9, perhaps for lack of memory; try with fewer --jobs",)),
        (1, ("left with exit status 1", "under `if __name__ == '__main__':`?")),
        (0, ("left with exit status 0",)),
    ],
)
def test_a_signal_is_laid_to_memory_and_an_exit_to_the_script(status, parts):
    worker: Any = _Worker.__new__(_Worker)
    worker._process = SimpleNamespace(join=lambda: None, exitcode=status)
    assert all(part in worker.end for part in parts) and ("memory" in worker.end) is (status < 0)


UNGUARDED = """
from mesascope.analyses.sweep import LocalProcesses
from tests.analyses.sweep.test_processes import job, work
print(*LocalProcesses(1).run(work, [job("a")]))
"""


@pytest.mark.slow
def test_a_script_without_a_guard_is_told_of_it(tmp_path):
    script = tmp_path / "mine.py"
    script.write_text(UNGUARDED)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    found = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, env=environment)
    assert "left with exit status 1" in found.stdout and "under `if __name__ == '__main__':`?" in found.stdout


def test_threads_are_shared_unless_the_user_said_how(monkeypatch):
    monkeypatch.setattr("mesascope.analyses.sweep.processes.n_cores", lambda: 8)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert LocalProcesses(4).n_threads is None
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert [LocalProcesses(n).n_threads for n in (1, 4, 16)] == [8, 2, 1]
    assert LocalProcesses().n_jobs == 8


def test_there_is_a_core_to_use():
    assert 1 <= n_cores() <= (os.cpu_count() or 1)


def test_no_process_is_refused():
    with pytest.raises(MesascopeError, match="jobs=0: give at least one process"):
        LocalProcesses(0)
