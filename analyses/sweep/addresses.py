"""Which checkpoints a pattern means."""

from collections.abc import Sequence
from fnmatch import filter as matching
from glob import glob, has_magic
from os.path import exists
from pathlib import Path

from mesascope.models import MesascopeError
from mesascope.models.formats import Address, zoo_names

OUTPUT = ("checkpoints", "logs", "report.html", "summary.json", "summary.csv", "claims.csv")
"""What a sweep writes into its folder."""


def find_checkpoints(patterns: Sequence[str], out: str | Path | None = None) -> list[str]:
    """The addresses that patterns stand for, sorted within each, none twice.

    Args:
        patterns: As `attach` takes them, where `*`, `?`, `[…]` and `**` stand for files and folders, or for names of
            the zoo: `runs/*`, `zoo:lsa-*`, `runs/*@step-1000`. What has none of these, or is there by just this name,
            is taken as it is; in a pattern `[[]` is a bracket.
        out: The sweep's own folder. What a pattern finds of it is no checkpoint: `runs/*` may be swept to `runs/sweep`.

    Raises:
        MesascopeError: A pattern matches nothing.
    """
    own = None if out is None else Path(out).resolve()
    return list(dict.fromkeys(address for pattern in patterns for address in _addresses(pattern, own)))


def _addresses(pattern: str, own: Path | None) -> list[str]:
    place = Address.parse(pattern).place
    if not has_magic(place) or exists(place):
        return [pattern]
    if place.startswith("zoo:"):
        found = [f"zoo:{name}" for name in matching(zoo_names(), place.removeprefix("zoo:"))]
    else:
        found = [path for path in sorted(glob(place, recursive=True)) if own is None or not _is_output(path, own)]
    if not found:
        raise MesascopeError(f"{pattern!r} matches nothing; expected run folders, such as 'runs/*', or 'zoo:*'")
    return [address + pattern.removeprefix(place) for address in found]


def _is_output(path: str, own: Path) -> bool:
    """Whether it is a sweep's folder, or of what the sweep writes there; runs may lie beside that."""
    resolved = Path(path).resolve()
    return resolved == own or any(resolved.is_relative_to(own / name) for name in OUTPUT)
