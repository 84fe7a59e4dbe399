"""The bundled specimens: `zoo:NAME`."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path

from mesascope.models.errors import MesascopeError, nearest


def zoo_names() -> list[str]:
    """The bundled specimens."""
    root = files("mesascope.models") / "zoo"
    return sorted(entry.name for entry in root.iterdir() if (entry / "config.json").is_file())


@contextmanager
def specimen(name: str) -> Iterator[Path]:
    """The run folder of a specimen.

    Raises:
        MesascopeError: There is none of this name.
    """
    if name not in zoo_names():
        raise MesascopeError(f"the zoo has no {name!r}{nearest(name, zoo_names())}")
    with as_file(files("mesascope.models") / "zoo" / name) as folder:
        yield folder
