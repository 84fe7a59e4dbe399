"""Analyses chosen by name."""

from collections.abc import Iterable, Sequence

from mesascope.analyses.registry import ANALYSES, Analysis
from mesascope.models import MesascopeError
from mesascope.models.errors import nearest

ALL = "all"


def choose_analyses(names: Sequence[str] | None, default: Sequence[str]) -> dict[str, Analysis]:
    """Analyses of the report by name, in the report's order.

    Args:
        names: Which; `"all"` among them means every one, None or none of them the default.
        default: What runs if nothing is chosen.

    Raises:
        MesascopeError: There is no such analysis.
    """
    check_names(names or (), [*ANALYSES, ALL])
    wanted = set(names or default)
    return {name: analysis for name, analysis in ANALYSES.items() if ALL in wanted or name in wanted}


def check_names(names: Iterable[str], known: Iterable[str]) -> None:
    """Refuse what is no analysis.

    Raises:
        MesascopeError: There is none of a name; the nearest is named.
    """
    known = list(known)
    for name in names:
        if name not in known:
            raise MesascopeError(f"no analysis is called {name!r}{nearest(name, known)}; there are {', '.join(known)}")
