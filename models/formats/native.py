"""mesascope's own run folders: config.json and model.safetensors, and the checkpoints of single steps."""

import json
import re
from pathlib import Path
from typing import ClassVar

from pydantic import ValidationError
from safetensors.torch import load as from_bytes
from torch import Tensor

from mesascope.models.errors import MesascopeError, first_complaint
from mesascope.models.foreign_files import read_text
from mesascope.models.formats.checkpoint import Checkpoint, Format, load_weights, with_scale
from mesascope.models.regressor import HookedRegressor
from mesascope.models.training.config import RunConfig

_STEP = re.compile(r"step_(0|[1-9]\d{0,17})\.safetensors")


class NativeFormat(Format):
    """A folder that `mesascope train` wrote, or one of its .safetensors files."""

    name: ClassVar[str] = "mesascope"
    expected: ClassVar[str] = "a folder with config.json, or a .safetensors file in it"

    def recognises(self, path: Path) -> bool:
        """A folder with config.json, or a .safetensors file."""
        return (path / "config.json").exists() or (path.suffix == ".safetensors" and path.is_file())

    def steps(self, path: Path) -> dict[int, Path]:
        """The files in checkpoints/."""
        found = ((_STEP.fullmatch(file.name), file) for file in (path / "checkpoints").glob("step_*.safetensors"))
        return {int(match[1]): file for match, file in found if match}

    def load(self, path: Path, w_std: float | None) -> Checkpoint:
        """Read the run's last weights, or those of one file.

        Raises:
            MesascopeError: The config is not a run's, or the weights are missing, truncated or of another model.
        """
        folder = path
        if not path.is_dir():
            folder = path.parent.parent if path.parent.name == "checkpoints" else path.parent
            if not (folder / "config.json").exists():
                raise MesascopeError(f"{path} has no config.json of its run in {folder}; copy the whole run folder")
        config = _config(folder / "config.json")
        weights = _weights(path / "model.safetensors" if path.is_dir() else path)
        try:
            model = HookedRegressor(config.model, config.seed)
        except (RuntimeError, MemoryError) as error:  # whatever a config may ask for
            reason = str(error).splitlines()[0] if str(error) else "out of memory"
            raise MesascopeError(f"{folder / 'config.json'}: its model cannot be built ({reason:.160})") from error
        load_weights(model, weights, path)
        return Checkpoint(
            model,
            with_scale(config.task, w_std),
            str(path),
            self.name,
            config.seed,
            w_std_known=w_std is None,
            about=config.about,
            command=config.command,
            reference=config.reference(),
        )


def _config(path: Path) -> RunConfig:
    text = read_text(path)
    try:
        return RunConfig.model_validate_json(text)
    except ValidationError as error:
        if (theirs := _model_type(text)) is not None:
            raise MesascopeError(
                f"{path} is of a {theirs!r} model of Hugging Face's transformers; expected a run folder of `mesascope "
                "train`, as mesascope looks at in-context regressors"
            ) from error
        raise MesascopeError(
            f"{path} is no run's config: {first_complaint(error)}; expected what `mesascope train` writes"
        ) from error


def _model_type(text: str) -> str | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return str(found["model_type"])[:40] if isinstance(found, dict) and "model_type" in found else None


def _weights(path: Path) -> dict[str, Tensor]:
    try:
        return from_bytes(path.read_bytes())
    except FileNotFoundError as error:
        raise MesascopeError(f"{path.parent} has a config.json but no {path.name}; copy the whole folder") from error
    except Exception as error:  # SafetensorError, OSError, and what its reader stumbles on in a foreign file
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise MesascopeError(f"{path} is truncated or no safetensors file ({reason:.160}); copy it again") from error
