"""Which checkpoints a pattern means."""

import re
from collections.abc import Sequence
from fnmatch import filter as matching
from glob import glob, has_magic

from mesascope.models import MesascopeError
from mesascope.models.formats import zoo_names

_PATTERN = re.compile(r"(?P<place>.*?)(?P<which>(@step-\d+)?(@untrained(-\d+)?)?)", re.DOTALL)


def find_checkpoints(patterns: Sequence[str]) -> list[str]:
    """The addresses that patterns stand for, sorted within each, none twice.

    Args:
        patterns: As `attach` takes them, where `*`, `?`, `[…]` and `**` stand for files and folders, or for names of
            the zoo: `runs/*`, `zoo:lsa-*`, `runs/*@step-1000`. What has none of these is taken as it is.

    Raises:
        MesascopeError: A pattern matches nothing.
    """
    return list(dict.fromkeys(address for pattern in patterns for address in _addresses(pattern)))


def _addresses(pattern: str) -> list[str]:
    match = _PATTERN.fullmatch(pattern)
    assert match is not None  # every string is at least a place
    place, which = match["place"], match["which"]
    if not has_magic(place):
        return [pattern]
    if place.startswith("zoo:"):
        found = [f"zoo:{name}" for name in matching(zoo_names(), place.removeprefix("zoo:"))]
    else:
        found = sorted(glob(place, recursive=True))
    if not found:
        raise MesascopeError(f"{pattern!r} matches nothing; expected run folders, such as 'runs/*', or 'zoo:*'")
    return [address + which for address in found]
