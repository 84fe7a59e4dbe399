"""Named training runs, and YAML files of the same form."""

import os
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from mesascope.models.errors import MesascopeError, first_complaint, nearest
from mesascope.models.training.config import RunConfig


def preset_names() -> list[str]:
    """The bundled presets, such as `lsa-2` or `fu2024/isotropic`."""
    return sorted(_names(files("mesascope.models") / "presets"))


def _names(folder: Traversable, prefix: str = "") -> list[str]:
    found = []
    for entry in folder.iterdir():
        if entry.is_dir():
            found += _names(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(".yaml"):
            found.append(prefix + entry.name.removesuffix(".yaml"))
    return found


def read_preset(source: str | Path) -> RunConfig:
    """A bundled preset by name, or a YAML file.

    `base: NAME` takes over a preset (or, from a file, a file beside it), field by field; `training: {trainer: …}` of
    another kind, like any mapping that names another kind, replaces the base's as a whole.

    Raises:
        MesascopeError: There is no such preset or file, or its content is no run; the message names the field.
    """
    content = _read(source, ())
    try:
        return RunConfig.model_validate(content)
    except ValidationError as error:
        raise MesascopeError(f"{source}: {first_complaint(error)}") from error


def _read(source: str | Path, above: tuple[str, ...]) -> Any:
    if str(source) in above:
        raise MesascopeError(f"{above[0]}: its base is itself ({' → '.join([*above, str(source)])})")
    try:
        content = yaml.safe_load(_text(source))
    except yaml.YAMLError as error:
        raise MesascopeError(f"{source} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or "base" not in content:
        return content
    base = content.pop("base")
    if not isinstance(base, str):
        raise MesascopeError(f"{source}: base: expected the name of a preset (got {base!r:.60})")
    if Path(base).suffix in (".yaml", ".yml"):
        base = os.path.normpath(Path(source).parent / base)  # one name per file, or a cycle is not seen
    return _merged(_read(base, (*above, str(source))), content)


def _text(source: str | Path) -> str:
    path = Path(source)
    if path.suffix in (".yaml", ".yml"):
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise MesascopeError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    if str(source) in preset_names():
        return (files("mesascope.models") / "presets" / f"{source}.yaml").read_text(encoding="utf-8")
    raise MesascopeError(f"no preset is called {str(source)!r}{nearest(str(source), preset_names())}")


def _merged(base: Any, over: Any) -> Any:
    """`over` on top of `base`; mappings of one kind field by field, everything else as a whole."""
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    if any(key in over and over[key] != base.get(key) for key in ("kind", "name", "trainer")):
        return over
    return base | {key: _merged(base.get(key), value) for key, value in over.items()}
