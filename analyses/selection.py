"""Analyses chosen by name."""

from collections.abc import Iterable, Sequence

from mesascope.analyses.registry import ANALYSES, Analysis
from mesascope.models import MesascopeError
from mesascope.models.errors import nearest

ALL = "all"


def choose_analyses(names: Sequence[str] | str | None, default: Sequence[str]) -> dict[str, Analysis]:
    """Analyses of the report by name, in the report's order.

    Args:
        names: Which; one may come as it is. `"all"` among them means every one, None or none of them the default.
        default: What runs if nothing is chosen.

    Raises:
        MesascopeError: There is no such analysis.
    """
    chosen = as_names(names)
    check_names(chosen, [*ANALYSES, ALL])
    wanted = set(chosen or default)
    return {name: analysis for name, analysis in ANALYSES.items() if ALL in wanted or name in wanted}


def as_names(names: Sequence[str] | str | None) -> list[str]:
    """A list of names: a single one is no list of letters."""
    return [names] if isinstance(names, str) else list(names or ())


def check_names(names: Iterable[str], known: Iterable[str]) -> None:
    """Refuse what is no analysis.

    Raises:
        MesascopeError: There is none of a name; the nearest is named, or all of them.
    """
    known = list(known)
    for name in names:
        if name not in known:
            raise MesascopeError(f"no analysis is called {name!r}{nearest(name, known, len(known))}")
