"""Jobs in local processes, each of which takes one after the other."""

import os
import signal
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Protocol, runtime_checkable

import torch

from mesascope.analyses.sweep.job import STARTING, Errors, Job
from mesascope.models import MesascopeError

Work = Callable[[Job], Errors]


@runtime_checkable
class Executor(Protocol):
    """Runs jobs somewhere."""

    def run(self, work: Work, jobs: Sequence[Job]) -> Generator[tuple[Job, Errors], None, None]:
        """Every job with its errors, as it is done; one that dies is an error of its own alone."""
        ...


class LocalProcesses:
    """Processes on this machine, in which torch is imported once and not for each job.

    A process that dies (out of memory, killed, a crash in a library) takes only its job with it and is replaced. The
    pools of joblib and `concurrent.futures` do not tell whose job it was and stop as a whole; submitit's own local
    executor starts all jobs at once, each with imports of its own.

    Processes are spawned, and so import the script that starts them: there the call has to stand under
    `if __name__ == "__main__":`, and a script from stdin cannot be imported.

    Args:
        n_jobs: How many; default one for each core. They share the cores, unless OMP_NUM_THREADS says how.

    Raises:
        MesascopeError: There are fewer than one.
    """

    def __init__(self, n_jobs: int | None = None):
        self.n_jobs = n_cores() if n_jobs is None else n_jobs
        if self.n_jobs < 1:
            raise MesascopeError(f"jobs={n_jobs}: give at least one process")
        self.n_threads = None if "OMP_NUM_THREADS" in os.environ else max(1, n_cores() // self.n_jobs)

    def run(self, work: Work, jobs: Sequence[Job]) -> Generator[tuple[Job, Errors], None, None]:
        """Every job with its errors, as it is done."""
        waiting, busy = deque(jobs), dict[Connection, tuple[_Worker, Job]]()
        free = [_Worker(self.n_threads) for _ in range(min(self.n_jobs, len(jobs)))]
        try:
            while waiting or busy:
                while waiting and free:
                    worker, job = free.pop(), waiting.popleft()
                    worker.give(work, job)
                    busy[worker.pipe] = (worker, job)
                for pipe in wait(list(busy)):
                    assert isinstance(pipe, Connection)
                    worker, job = busy.pop(pipe)
                    errors = worker.answer()
                    free.append(worker if errors is not None else _Worker(self.n_threads))
                    yield job, {STARTING: worker.end} if errors is None else errors
        finally:
            for worker in [*free, *(worker for worker, _ in busy.values())]:
                worker.stop()


def n_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Worker:
    """One process, and the pipe to it."""

    def __init__(self, n_threads: int | None):
        context = get_context("spawn")  # a forked torch hangs on its threads' locks
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, n_threads), daemon=True)
        self._process.start()
        theirs.close()  # so that the pipe ends when the process does

    def give(self, work: Work, job: Job) -> None:
        """Hand over a job; if the process is gone, its answer will tell."""
        with suppress(OSError):
            self.pipe.send((work, job))

    def answer(self) -> Errors | None:
        """What came back; None if the process died."""
        try:
            errors: Errors = self.pipe.recv()
        except (EOFError, OSError):
            return None
        return errors

    @property
    def end(self) -> str:
        """How the process died."""
        self._process.join()
        code = self._process.exitcode or 0
        if code < 0:
            return f"its process was ended by signal {-code}, perhaps for lack of memory; try with fewer --jobs"
        # It imports the caller's script: one that starts a sweep as it is imported, or that is no file, ends it.
        return (
            f"its process left with exit status {code}, and what it said stands above; if none started, is the call of "
            "the sweep in a file, under `if __name__ == '__main__':`?"
        )

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.join()
        self.pipe.close()


def _serve(pipe: Connection, n_threads: int | None) -> None:
    """Take jobs until the other end is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends its workers
    if n_threads is not None:
        torch.set_num_threads(n_threads)
    while True:
        try:
            work, job = pipe.recv()
            pipe.send(work(job))
        except (EOFError, BrokenPipeError):
            return
