"""Run folders: written atomically, so that a killed run leaves nothing half-written."""

import io
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors.torch import save as to_bytes

from mesascope.models.config import Config
from mesascope.models.errors import MesascopeError, first_complaint
from mesascope.models.files import cannot_write, write_atomically
from mesascope.models.foreign_files import read_pickle_safely
from mesascope.models.regressor import HookedRegressor
from mesascope.models.training.config import RunConfig
from mesascope.models.training.tracking import Record

try:
    import fcntl
except ImportError:  # not on Windows, where nothing keeps a second process out
    fcntl = None  # type: ignore[assignment]


class RunFolder:
    """config.json, model.safetensors, checkpoints/step_N.safetensors, trainer.pt, log.jsonl."""

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self._lock: int | None = None

    @classmethod
    def create(cls, path: Path | str, config: Config) -> "RunFolder":
        """Start a run folder.

        Raises:
            MesascopeError: The folder holds a run already, or cannot be written.
        """
        folder = cls(path)
        if folder.holds_a_run:
            raise MesascopeError(
                f"{folder.path} already holds a run; continue it with --resume, choose another --out or remove it"
            )
        write_atomically(folder.path / "config.json", config.model_dump_json(indent=2) + "\n")
        return folder

    @property
    def holds_a_run(self) -> bool:
        """Whether there is a run in it."""
        return (self.path / "config.json").exists()

    def check_same(self, config: RunConfig) -> None:
        """Refuse to continue a run with another config.

        Raises:
            MesascopeError: A field differs (the first is named), or config.json is not a run's.
        """
        path = self.path / "config.json"
        try:
            earlier = RunConfig.model_validate_json(path.read_text(encoding="utf-8"))
        except ValidationError as error:
            raise MesascopeError(f"{path} is no run's config: {first_complaint(error)}") from error
        except (OSError, UnicodeDecodeError) as error:
            raise MesascopeError(f"cannot read {path}: {error}") from error
        told = {"about", "command", "version"}  # what a run says of itself determines nothing
        before, now = (c.model_dump(mode="json", exclude=told) for c in (earlier, config))
        if (difference := _first_difference(before, now)) is not None:
            field, old, new = difference
            raise MesascopeError(
                f"{self.path} was started with {field}={old!r}, not {new!r}; resume with the same config, or choose "
                "another --out"
            )

    def lock(self) -> None:
        """Keep other processes out until `unlock` or the end of this one, and clear up what a killed one left.

        Raises:
            MesascopeError: Another process trains here.
        """
        if fcntl is not None:
            self._lock = os.open(self.path, os.O_RDONLY)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                self.unlock()
                raise MesascopeError(
                    f"another process is training in {self.path}; wait for it, or choose another --out"
                ) from error
        names = (".config.json.*", ".trainer.pt.*", ".model.safetensors.*", ".log.jsonl.*", "checkpoints/.step_*")
        for left in (left for name in names for left in self.path.glob(name)):
            left.unlink(missing_ok=True)

    def unlock(self) -> None:
        """Let others in."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def checkpoint(self, step: int, model: HookedRegressor) -> None:
        """Keep the weights of a step."""
        write_atomically(self.path / "checkpoints" / f"step_{step}.safetensors", _weights(model))

    def write_model(self, model: HookedRegressor) -> None:
        """Make a model's weights the run's."""
        write_atomically(self.path / "model.safetensors", _weights(model))

    def write_trainer(self, step: int, state: Mapping[str, Any]) -> None:
        """Write all that is needed to continue after `step`."""
        buffer = io.BytesIO()
        torch.save({"step": step, "state": dict(state)}, buffer)
        write_atomically(self.path / "trainer.pt", buffer.getvalue())

    def read_trainer(self, n_steps: int | None = None) -> tuple[int, dict[str, Any]] | None:
        """The step and state to continue from; None if the run was stopped before its first checkpoint.

        Raises:
            MesascopeError: trainer.pt is broken, of another run, or gone from a run that has weights.
        """
        path = self.path / "trainer.pt"
        remedy = "copy the run's own back, or start anew in another --out"
        if not path.exists():
            if (self.path / "model.safetensors").exists():
                raise MesascopeError(f"{self.path} has weights but no trainer.pt, so it cannot be continued; {remedy}")
            return None
        try:
            content = read_pickle_safely(path)
        except MesascopeError as error:
            raise MesascopeError(f"{error}; {remedy}") from error
        step = content.get("step") if isinstance(content, dict) else None
        last = math.inf if n_steps is None else n_steps
        if not isinstance(step, int) or not 0 <= step <= last or not isinstance(content.get("state"), dict):
            raise MesascopeError(f"{path} is not of this run of {n_steps} steps (got step {step!r:.40}); {remedy}")
        return step, content["state"]

    def log(self, record: Record) -> None:
        """Append a line to log.jsonl.

        Raises:
            MesascopeError: It cannot be written.
        """
        try:
            with self._log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(dict(record)) + "\n")
        except OSError as error:
            raise cannot_write(self._log, error) from error

    def records(self) -> list[dict[str, Any]]:
        """The lines of log.jsonl, up to one that is no record, such as a last one that a kill cut short."""
        if not self._log.exists():
            return []
        found: list[dict[str, Any]] = []
        for line in self._log.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                record = json.loads(line)
            except json.JSONDecodeError:
                break
            if not isinstance(record, dict) or not isinstance(record.get("step"), int):
                break
            found.append(record)
        return found

    def forget_after(self, step: int) -> None:
        """Drop the records of later steps, which will be taken again."""
        kept = [record for record in self.records() if record["step"] <= step]
        write_atomically(self._log, "".join(json.dumps(record) + "\n" for record in kept))

    @property
    def _log(self) -> Path:
        return self.path / "log.jsonl"


def _weights(model: HookedRegressor) -> bytes:
    return to_bytes({name: tensor.contiguous().cpu() for name, tensor in model.weights.items()})


def _first_difference(before: Any, now: Any, field: str = "") -> tuple[str, Any, Any] | None:
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return None if before == now else (field, before, now)
    for key in [*before, *(key for key in now if key not in before)]:
        found = _first_difference(before.get(key), now.get(key), f"{field}.{key}".lstrip("."))
        if found is not None:
            return found
    return None
