"""A live view of a training run."""

import sys
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from mesascope.models.training.tracking import Record


class TrainingBar:
    """A bar on stderr with loss, distance to the reference learner and time left; quiet when that is no terminal."""

    def __init__(self, name: str, n_steps: int | None, reference: str, quiet: bool = False):
        excess = f"  {{task.fields[excess]}} above {escape(reference)}"
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}" + excess),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=quiet or not sys.stderr.isatty(),
        )
        self._task = self._bar.add_task(escape(name), total=n_steps, loss="–", excess="–")

    def update(self, step: int, record: "Record") -> None:
        """Show a step and the newest record of the log."""
        shown = {name: f"{record[name]:.3g}" for name in ("loss", "excess") if name in record}
        self._bar.update(self._task, completed=step, **shown)  # type: ignore[arg-type]

    def stop(self) -> None:
        """Leave the terminal as it is."""
        self._bar.stop()

    def __enter__(self) -> "TrainingBar":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
