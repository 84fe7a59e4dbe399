"""mesascope's own run folders: config.json and model.safetensors."""

from pathlib import Path
from typing import ClassVar

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as from_bytes

from mesascope.models.errors import MesascopeError, first_complaint
from mesascope.models.formats.checkpoint import Checkpoint, Format, load_weights, read_text
from mesascope.models.regressor import HookedRegressor
from mesascope.models.training.run import RunConfig


class NativeFormat(Format):
    """A folder that `mesascope train` wrote."""

    name: ClassVar[str] = "mesascope"
    marker: ClassVar[str] = "config.json"

    def load(self, folder: Path, w_std: float | None) -> Checkpoint:
        """Read the run's last checkpoint.

        Raises:
            MesascopeError: The config is not a run's, or the weights are missing, truncated or of another model.
        """
        path = folder / "config.json"
        try:
            config = RunConfig.model_validate_json(read_text(path))
        except ValidationError as error:
            raise MesascopeError(f"{path} is no run's config: {first_complaint(error)}") from error
        path = folder / "model.safetensors"
        try:
            weights = from_bytes(path.read_bytes())
        except FileNotFoundError as error:
            raise MesascopeError(
                f"{folder} has a config.json but no model.safetensors; copy the whole folder"
            ) from error
        except (SafetensorError, OSError) as error:
            raise MesascopeError(f"{path} is truncated or no safetensors file ({error}); copy it again") from error
        model = HookedRegressor(config.model, config.seed)
        load_weights(model, weights, path)
        task = config.task if w_std is None else config.task.model_copy(update={"w_std": w_std})
        return Checkpoint(
            model,
            task,
            str(folder),
            self.name,
            config.seed,
            w_std_known=w_std is None,
            about=config.about,
            command=config.command,
        )
