"""One checkpoint of a sweep: what it is, and its analyses one by one into the store."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mesascope.analyses.claim import Result
from mesascope.analyses.descriptions import describe_model
from mesascope.analyses.findings import reason_of
from mesascope.analyses.scope import Scope, attach
from mesascope.analyses.selection import choose_analyses
from mesascope.analyses.specimens import describe_task
from mesascope.analyses.store import Store, content_key, fingerprint
from mesascope.models import MesascopeError
from mesascope.models.errors import in_a_line

SCHEMA = 2
"""To be raised when what is stored changes, or the same claims come to mean something else."""
STARTING = "loading"
"""What an error is of that no analysis made."""
WRITING = "writing"
"""What an error is of that would meet every other checkpoint too: a full disk ends a sweep."""

Errors = dict[str, str]
"""One line for each analysis that failed, or for `STARTING` or `WRITING`."""


@dataclass(frozen=True)
class Settings:
    """What is measured of every checkpoint."""

    analyses: tuple[str, ...]
    n_prompts: int = 10_000
    """To fit readouts on."""
    seed: int = 0
    device: str = "cpu"
    w_std: float | None = None

    def attach(self, source: str) -> Scope:
        """The scope of a checkpoint."""
        return attach(source, seed=self.seed, device=self.device, w_std=self.w_std)

    def key(self, scope: Scope) -> str:
        """What determines a checkpoint's numbers; the same for copies of it, wherever they lie."""
        return content_key(scope, fingerprint(scope), n_prompts=self.n_prompts, schema=SCHEMA)


@dataclass(frozen=True)
class Job:
    """One checkpoint to measure, in a process of its own."""

    source: str
    key: str
    settings: Settings
    folder: Path
    """Where the store is, absolute: a cluster's processes start elsewhere."""


def measure(job: Job) -> Errors:
    """Run the analyses that are not stored yet, and store each as it is done.

    An analysis that fails, for whatever reason, is named and does not stop the others; what cannot be stored does.
    """
    store, errors = Store(job.folder), Errors()
    scope: Scope | None = None
    for name, analysis in choose_analyses(job.settings.analyses, ()).items():
        if stored(store, job.key, name) is not None:
            continue
        try:
            start = time.perf_counter(), time.process_time()
            scope = scope or job.settings.attach(job.source)
            result = analysis.run(scope, job.settings.n_prompts) if analysis.applies(scope) else None
            content = _content(result, *start)
        except Exception as error:  # noqa: BLE001  (one checkpoint is not to stop a thousand)
            errors[name if scope else STARTING] = what_went_wrong(error, analysis.fits_readouts)
            if scope is None:
                break
            continue
        try:
            store.write(content, job.key, name)
        except MesascopeError as error:
            return errors | {WRITING: str(error)}
    return errors


def stored(store: Store, key: str, name: str) -> dict[str, Any] | None:
    """What is stored of an analysis; None if nothing is, or not all that `measure` stores."""
    content = store.read(key, name)
    if not isinstance(content, dict) or not content.keys() >= {"applies", "seconds", "cpu_seconds"}:
        return None
    return content if not content["applies"] or content.keys() >= {"headlines", "claims", "warnings", "data"} else None


def what_went_wrong(error: Exception, by_prompts: bool = True) -> str:
    """In one line; with its kind, where it is not for the user to mend."""
    return reason_of(error, by_prompts) or f"{type(error).__name__}: {in_a_line(error)}"


def describe(scope: Scope) -> dict[str, Any]:
    """What a table says of a checkpoint before anything is measured."""
    model, task = describe_model(scope), scope.task
    config = model["config"]
    return {
        "task": describe_task(task),
        "n_dims": task.n_dims,
        "n_points": task.n_points,
        "layers": config["n_layers"],
        "parameters": model["n_parameters"],
        "format": model["format"],
        "training_seed": model["seed"],
    }


def _content(result: Result | None, wall: float, cpu: float) -> dict[str, Any]:
    """What is stored of an analysis that started at these times; that it does not apply is a result too."""
    took = {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
    if result is None:
        return {"applies": False, **took}
    headlines = [claim.id for claim in result.headlines]
    return {"applies": True, **took, "headlines": headlines, **result.to_json()}
