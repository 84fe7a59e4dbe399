"""Analyses chosen by name."""

from collections.abc import Sequence

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
    known = [*ANALYSES, ALL]
    for name in names or ():
        if name not in known:
            raise MesascopeError(f"no analysis is called {name!r}{nearest(name, known)}; there are {', '.join(known)}")
    wanted = set(names or default)
    return {name: analysis for name, analysis in ANALYSES.items() if ALL in wanted or name in wanted}
