"""Jobs on a cluster, through submitit."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mesascope.analyses.sweep.job import STARTING, Errors, Job, in_a_line
from mesascope.analyses.sweep.processes import Work
from mesascope.models import MesascopeError

ARRAY = 500
"""Jobs in an array; Slurm allows 1001 unless told otherwise."""


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
                f"there is no {cluster!r} cluster here ({in_a_line(error)}); start on a node that can submit, or "
                "leave out --cluster to use local processes"
            ) from error
        parameters: dict[str, Any] = {"name": "mesascope", "timeout_min": minutes, "cpus_per_task": n_cpus}
        slurm = {"slurm_partition": partition, "slurm_array_parallelism": n_jobs}
        self._executor.update_parameters(**parameters, **{key: v for key, v in slurm.items() if v is not None})
        self.cluster, self.poll_s = cluster, poll_s

    def run(self, work: Work, jobs: Sequence[Job]) -> Iterator[tuple[Job, Errors]]:
        """Every job with its errors, as it is done; what is still queued when the caller stops is cancelled.

        Raises:
            MesascopeError: The cluster takes no jobs.
        """
        from submitit.helpers import as_completed

        submitted = []
        try:
            try:
                for start in range(0, len(jobs), ARRAY):
                    submitted += self._executor.map_array(work, jobs[start : start + ARRAY])
            except Exception as error:  # FailedJobError, CalledProcessError: whatever sbatch stumbles on
                raise MesascopeError(f"{self.cluster} takes no jobs: {in_a_line(error)}") from error
            by_id = {task.job_id: job for task, job in zip(submitted, jobs, strict=True)}
            for task in as_completed(submitted, poll_frequency=self.poll_s):
                failure = task.exception()
                yield by_id[task.job_id], task.result() if failure is None else {STARTING: in_a_line(failure)}
        finally:
            for task in submitted:
                if not task.done():
                    task.cancel()
