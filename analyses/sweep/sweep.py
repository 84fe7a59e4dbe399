"""Many checkpoints: each measured once, whatever happens to the others."""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from mesascope.analyses.claim import Claim, Figure, Result
from mesascope.analyses.folders import check_writable
from mesascope.analyses.identification import Identification
from mesascope.analyses.matching import Matching
from mesascope.analyses.performance import Performance
from mesascope.analyses.selection import choose_analyses
from mesascope.analyses.store import Store
from mesascope.analyses.sweep.addresses import find_checkpoints
from mesascope.analyses.sweep.job import (
    STARTING,
    WRITING,
    Errors,
    Job,
    Settings,
    describe,
    measure,
    stored,
    what_went_wrong,
)
from mesascope.analyses.sweep.processes import Executor, LocalProcesses
from mesascope.analyses.sweep.row import Row, read_row
from mesascope.models import MesascopeError

DEFAULT = (Performance.name, Identification.name, Matching.name)
"""What is measured unless other analyses are asked for: the loss, which learner, and which construction."""

NAMED = 5
"""Most checkpoints whose names stand in a sentence."""


@dataclass(frozen=True)
class Sweep(Result):
    """One row for each checkpoint."""

    name: ClassVar[str] = "sweep"
    title: ClassVar[str] = "Sweep over checkpoints"
    question: ClassVar[str] = "What are these checkpoints, and which could not be measured?"

    rows: tuple[Row, ...]
    settings: Settings
    n_run: int
    """Checkpoints that were measured now; the others were stored, copies, or failed to load."""

    @property
    def failed(self) -> tuple[Row, ...]:
        """What is not whole."""
        return tuple(row for row in self.rows if not row.done)

    @property
    def claims(self) -> tuple[Claim, ...]:
        """How many were measured, and what each analysis says of how many; those of a checkpoint are in `rows`."""
        return (self._whole(), *(claim for name in self.settings.analyses if (claim := self._verdicts(name))))

    @property
    def headlines(self) -> tuple[Claim, ...]:
        """All of them."""
        return self.claims

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the analyses warn of, checkpoint by checkpoint; copies are not warned of again."""
        return tuple(f"{row.source}: {warning}" for row in self.rows if row.copy_of is None for warning in row.warnings)

    def _whole(self) -> Claim:
        done, copies = len(self.rows) - len(self.failed), sum(row.copy_of is not None for row in self.rows)
        text = f"{done} of {len(self.rows)} checkpoints were measured"
        text += f" ({copies} of them copies of others)" if copies else ""
        text += f"; not {', '.join(row.source for row in self.failed[:NAMED])}" if self.failed else ""
        text += f" and {len(self.failed) - NAMED} more" if len(self.failed) > NAMED else ""
        verdict = f"{len(self.failed)} failed" if self.failed else "complete"
        return Claim("sweep.done", text + ".", float(done), None, None, verdict)

    def _verdicts(self, name: str) -> Claim | None:
        counts = self.verdicts(name)
        if not counts:
            return None
        said = ", ".join(f"{verdict}: {count}" for verdict, count in counts.most_common())
        # The most frequent of several is not what the checkpoints are, least of all in a tie.
        verdict = next(iter(counts)) if len(counts) == 1 else f"{len(counts)} different verdicts"
        text = f"By {name}, of {counts.total()}: {said}."
        return Claim(f"sweep.{name}", text, float(len(counts)), None, None, verdict)

    def verdicts(self, name: str) -> Counter[str]:
        """How often an analysis says what."""
        firsts = (row.first(name) for row in self.rows)
        return Counter(claim.verdict for claim in firsts if claim is not None)

    def figures(self) -> tuple[Figure, ...]:
        """Each analysis' first number over checkpoints."""
        from mesascope.analyses.sweep.figures import draw

        return draw(self)

    def table(self) -> list[dict[str, Any]]:
        """One line a checkpoint, all with the same columns."""
        # A checkpoint that has most to say gives the order; what only others have comes after it.
        lines = [row.cells(self.settings.analyses) for row in self.rows]
        columns = dict.fromkeys(column for line in sorted(lines, key=len, reverse=True) for column in line)
        return [{column: line.get(column) for column in columns} for line in lines]

    def data(self) -> dict[str, Any]:
        """The table, and what it was made with."""
        settings = self.settings
        return {
            "analyses": list(settings.analyses),
            "n_prompts": settings.n_prompts,
            "seed": settings.seed,
            "device": settings.device,
            "w_std": settings.w_std,
            "n_run": self.n_run,
            "rows": self.table(),
        }


def sweep_checkpoints(
    patterns: str | Sequence[str],
    out: str | Path,
    analyses: Sequence[str] | None = None,
    n_prompts: int = 10_000,
    seed: int = 0,
    device: str = "cpu",
    w_std: float | None = None,
    executor: Executor | None = None,
    on_checkpoint: Callable[[str, int, int], None] = lambda source, done, total: None,
) -> Sweep:
    """Measure many checkpoints, each once, and collect what was found.

    Every analysis of every checkpoint is stored as it is done, under a hash of weights, config, task, settings and
    version: a sweep that was stopped continues, one with more checkpoints or analyses costs only those, and copies
    are measured once. What fails to load, to run or to stay alive is a line of the table and stops nothing else.

    Args:
        patterns: What to look at, see `find_checkpoints`.
        out: Folder of the results, itself never swept; those of a cluster have to be on a disk that its nodes share.
        analyses: By their names in `report.json`, in a list or one alone, `"all"` for every one; default performance,
            identification and matching.
        n_prompts: Prompts to fit readouts on.
        seed: Seed of every prompt and resample.
        device: Where to run the models.
        w_std: Scale of w, for checkpoints that do not record it.
        executor: Where to run; default `LocalProcesses()`, one for each core. `Cluster` is the other. Local processes
            import the calling script: keep the call under `if __name__ == "__main__":`, in a file.
        on_checkpoint: Called with each that is done, how many are, and of how many.

    Raises:
        MesascopeError: A pattern matches nothing, the folder cannot be written, its disk is full, there is no such
            analysis, or the cluster takes no jobs.
    """
    settings = Settings(tuple(choose_analyses(analyses, DEFAULT)), n_prompts, seed, device, w_std)
    sources = find_checkpoints([patterns] if isinstance(patterns, str) else patterns, out)
    folder = Path(out).resolve() / "checkpoints"
    check_writable(folder)
    store, looked = Store(folder), [look(source, settings) for source in sources]
    first = {row.key: row.source for row in reversed(looked) if row.key is not None}
    jobs = [Job(source, key, settings, folder) for key, source in first.items() if not _stored(store, key, settings)]
    jobs.reverse()  # back in the order of the sources
    n_done, total = len(sources) - len(jobs), len(sources)
    errors: dict[str, Errors] = {}
    with closing((executor or LocalProcesses()).run(measure, jobs)) as answers:  # an executor ends what it started
        for job, failed in answers:
            if WRITING in failed:
                raise MesascopeError(failed[WRITING])
            n_done += 1
            errors[job.key] = failed
            on_checkpoint(job.source, n_done, total)
    rows = [_row(row, store, settings, errors, first) for row in looked]
    return Sweep(tuple(rows), settings, len(jobs))


def look(source: str, settings: Settings) -> Row:
    """What a checkpoint is, without measuring anything; an error if it cannot be loaded."""
    try:
        scope = settings.attach(source)
        return Row(source, settings.key(scope), describe(scope))
    except Exception as error:  # noqa: BLE001  (one checkpoint is not to stop a thousand)
        return Row(source, errors={STARTING: what_went_wrong(error)})


def _stored(store: Store, key: str, settings: Settings) -> bool:
    return all(stored(store, key, name) is not None for name in settings.analyses)


def _row(row: Row, store: Store, settings: Settings, errors: dict[str, Errors], first: dict[str, str]) -> Row:
    if row.key is None:
        return row
    own = first[row.key]
    found = read_row(store, row.source, row.key, row.about, settings.analyses)
    return replace(found, copy_of=None if own == row.source else own, errors=errors.get(row.key, {}))
