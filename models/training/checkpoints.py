"""Run folders: written atomically, so that a killed run leaves nothing half-written."""

import os
import tempfile
from pathlib import Path

from safetensors.torch import save as to_bytes

from mesascope.models.config import Config
from mesascope.models.errors import MesascopeError
from mesascope.models.regressor import HookedRegressor


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write a file so that it is either the old or the new one, whatever happens.

    Raises:
        MesascopeError: The file cannot be written.
    """
    data = content.encode() if isinstance(content, str) else content
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)  # the temporary file is private; the finished one is not
        temporary.replace(path)
    except OSError as error:
        raise MesascopeError(f"cannot write {path}: {error.strerror or error}; choose another folder") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


class RunFolder:
    """config.json, model.safetensors, checkpoints/step_N.safetensors, log.jsonl."""

    def __init__(self, path: Path):
        self.path = path

    @classmethod
    def create(cls, path: Path | str, config: Config) -> "RunFolder":
        """Start a run folder.

        Raises:
            MesascopeError: The folder holds a run already, or cannot be written.
        """
        folder = cls(Path(path))
        if (folder.path / "config.json").exists():
            raise MesascopeError(f"{folder.path} already holds a run; choose another --out or remove it")
        write_atomically(folder.path / "config.json", config.model_dump_json(indent=2) + "\n")
        return folder

    def checkpoint(self, step: int, model: HookedRegressor) -> None:
        """Keep the weights of a step, and make them the run's model."""
        write_atomically(self.path / "checkpoints" / f"step_{step}.safetensors", _weights(model))
        self.write_model(model)

    def write_model(self, model: HookedRegressor) -> None:
        """Make a model's weights the run's."""
        write_atomically(self.path / "model.safetensors", _weights(model))

    def log(self, line: str) -> None:
        """Append a line to log.jsonl."""
        with (self.path / "log.jsonl").open("a") as file:
            file.write(line + "\n")


def _weights(model: HookedRegressor) -> bytes:
    return to_bytes({name: tensor.contiguous().cpu() for name, tensor in model.state_dict().items()})
