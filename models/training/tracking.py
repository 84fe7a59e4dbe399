"""Loggers besides log.jsonl, which is always written: TensorBoard and Weights & Biases."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from mesascope.models.errors import MesascopeError

Record = Mapping[str, int | float]
"""A line of the log: `step` and what was measured there."""


@runtime_checkable
class Tracker(Protocol):
    """Takes a run's records."""

    def log(self, record: Record) -> None:
        """One record; `step` is among its numbers."""

    def close(self) -> None:
        """No more will come."""


class TensorBoard:
    """Event files in `folder`, from the first record on: a run that is refused leaves none.

    Raises:
        MesascopeError: tensorboard is not installed.
    """

    def __init__(self, folder: Path):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MesascopeError("tensorboard is not installed; pip install 'mesascope[track]'") from error
        self._start = lambda: SummaryWriter(folder)
        self._writer: Any = None

    def log(self, record: Record) -> None:
        """Write every number but the step."""
        self._writer = self._writer or self._start()
        for name, value in record.items():
            if name != "step":
                self._writer.add_scalar(name, value, int(record["step"]))

    def close(self) -> None:
        """Flush and close."""
        if self._writer is not None:
            self._writer.close()


class WeightsAndBiases:
    """A run of a Weights & Biases project, from the first record on; wandb's environment variables hold.

    Raises:
        MesascopeError: wandb is not installed.
    """

    def __init__(self, project: str, folder: Path, config: Mapping[str, object]):
        try:
            import wandb
        except ImportError as error:
            raise MesascopeError("wandb is not installed; pip install 'mesascope[track]'") from error
        self._start = lambda: wandb.init(project=project, name=folder.name, dir=folder, config=dict(config))
        self._error = wandb.Error
        self._run: Any = None

    def log(self, record: Record) -> None:
        """Hand the record on.

        Raises:
            MesascopeError: wandb cannot start, such as without a key.
        """
        try:
            self._run = self._run or self._start()
        except self._error as error:
            reason = " ".join(str(error).split())
            raise MesascopeError(
                f"Weights & Biases cannot start ({reason:.160}); log in, set WANDB_MODE=offline or leave --wandb out"
            ) from error
        self._run.log({name: value for name, value in record.items() if name != "step"}, step=int(record["step"]))

    def close(self) -> None:
        """Finish the run."""
        if self._run is not None:
            self._run.finish()
