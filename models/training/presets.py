"""Named training runs, and YAML files of the same form."""

from importlib.resources import files
from pathlib import Path

import yaml
from pydantic import ValidationError

from mesascope.models.errors import MesascopeError, first_complaint, nearest
from mesascope.models.training.run import RunConfig


def preset_names() -> list[str]:
    """The bundled presets."""
    root = files("mesascope.models") / "presets"
    return sorted(entry.name.removesuffix(".yaml") for entry in root.iterdir() if entry.name.endswith(".yaml"))


def read_preset(source: str | Path) -> RunConfig:
    """A bundled preset by name, or a YAML file.

    Raises:
        MesascopeError: There is no such preset or file, or its content is no run; the message names the field.
    """
    path = Path(source)
    if path.suffix in (".yaml", ".yml"):
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise MesascopeError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    elif str(source) in preset_names():
        text = (files("mesascope.models") / "presets" / f"{source}.yaml").read_text(encoding="utf-8")
    else:
        raise MesascopeError(f"no preset is called {str(source)!r}{nearest(str(source), preset_names())}")
    try:
        return RunConfig.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise MesascopeError(f"{source} is not YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        raise MesascopeError(f"{source}: {first_complaint(error)}") from error
