"""Jobs on a cluster, through submitit."""

import subprocess
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from mesascope.analyses.sweep.job import STARTING, Errors, Job, what_went_wrong
from mesascope.analyses.sweep.processes import Work
from mesascope.models import MesascopeError

ARRAY = 500
"""Jobs in an array; Slurm allows 1001 unless told otherwise."""
LOST_S = 30.0
"""Seconds that a task without an answer may be out of the queue: a shared disk shows files late."""


class Cluster:
    """Each job is a task of a Slurm array; files lie on a disk that the nodes share.

    Args:
        logs: A folder on that disk for scripts and logs.
        cluster: What submitit calls the cluster: `"slurm"`.
        n_jobs: Most jobs at a time; default as many as the cluster gives.
        partition: Slurm's; default the cluster's own.
        minutes: Time limit of a job.
        n_cpus: Cores for each.
        poll_s: Seconds between looks at the queue.

    Raises:
        MesascopeError: submitit is not installed, or there is no such cluster.
    """

    def __init__(
        self,
        logs: Path,
        cluster: str = "slurm",
        n_jobs: int | None = None,
        partition: str | None = None,
        minutes: int = 60,
        n_cpus: int = 1,
        poll_s: float = 5.0,
    ):
        try:
            import submitit
        except ImportError as error:
            raise MesascopeError("a cluster needs submitit: pip install 'mesascope[cluster]'") from error
        try:
            self._executor = submitit.AutoExecutor(folder=logs.resolve() / "%j", cluster=cluster)
        except (RuntimeError, ValueError) as error:
            raise MesascopeError(
                f"there is no {cluster!r} cluster here ({what_went_wrong(error)}); start on a node that can submit, or "
                "leave out --cluster to use local processes"
            ) from error
        parameters: dict[str, Any] = {"name": "mesascope", "timeout_min": minutes, "cpus_per_task": n_cpus}
        slurm = {"slurm_partition": partition, "slurm_array_parallelism": n_jobs}
        self._executor.update_parameters(**parameters, **{key: v for key, v in slurm.items() if v is not None})
        self.cluster, self.poll_s = cluster, poll_s

    def run(self, work: Work, jobs: Sequence[Job]) -> Generator[tuple[Job, Errors], None, None]:
        """Every job with its errors, as it is done; what is still queued when the caller stops is cancelled.

        Raises:
            MesascopeError: The cluster takes no jobs.
        """
        waiting: dict[Any, Job] = {}
        try:
            try:
                for start in range(0, len(jobs), ARRAY):
                    some = jobs[start : start + ARRAY]
                    waiting |= dict(zip(self._executor.map_array(work, some), some, strict=True))
            except Exception as error:  # FailedJobError, CalledProcessError: whatever sbatch stumbles on
                raise MesascopeError(
                    f"{self.cluster} takes no jobs: {what_went_wrong(error)}; look with sinfo what there is, or "
                    "leave out --cluster to use local processes"
                ) from error
            seen = dict.fromkeys(waiting, time.monotonic())
            while waiting:
                queue = self._queue()
                for task in list(waiting):
                    if queue is None or task.job_id in queue:
                        seen[task] = time.monotonic()
                    if self._answered(task):
                        yield waiting.pop(task), _answer(task)
                    elif time.monotonic() - seen[task] > LOST_S:
                        yield waiting.pop(task), {STARTING: _lost(task)}
                if waiting:
                    time.sleep(self.poll_s)
        finally:
            for task in waiting:
                task.cancel()

    def _answered(self, task: Any) -> bool:
        """Slurm's own accounts are not asked: small clusters keep none, and then a killed task never ends."""
        return bool(task.paths.result_pickle.exists() if self.cluster == "slurm" else task.done())

    def _queue(self) -> set[str] | None:
        """Our tasks that are queued or running; None if that cannot be told now."""
        if self.cluster != "slurm":
            return None
        listed = subprocess.run(["squeue", "--me", "-h", "-r", "-o", "%i"], capture_output=True, text=True)
        return set(listed.stdout.split()) if listed.returncode == 0 else None


def _answer(task: Any) -> Errors:
    failure = task.exception()
    if failure is not None:
        # Its whole trace stands between two rules; the end says what it was.
        parts = str(failure).split("-" * 22)
        trace = next((part for part in parts if "Traceback" in part), str(failure))
        return {STARTING: " ".join(trace.strip(" -\n").split())[-300:]}
    errors: Errors = task.result()
    return errors


def _lost(task: Any) -> str:
    return (
        f"task {task.job_id} left the queue without an answer, killed or out of time or memory; its log is "
        f"{task.paths.stderr}; give it more --minutes or --cpus"
    )
