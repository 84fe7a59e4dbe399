"""Where in a model to look: the point whose prediction is traced, and the tokens that may hold what it needs."""

from mesascope.analyses.causality.variables import Variable
from mesascope.analyses.scope import Scope
from mesascope.models import HookedRegressor, MesascopeError
from mesascope.models.tasks import Regression
from mesascope.probes import Site

SPARE = 3
"""Points at the end of a prompt at which a decoder may not have learned to predict."""


def traced_point(scope: Scope) -> int:
    """The point whose prediction is traced: a few points later than w is determined, or the only one that is read.

    Raises:
        MesascopeError: At no point that the model reads are there as many points before as w has entries.
    """
    n_dims, n_points = scope.task.n_dims, scope.task.n_points
    read = scope.model.read_points(n_points)
    fewest = n_dims if scope.regression.linear else 1
    # With as many points as w has entries, noise alone would be all of what least squares predicts.
    late = max(scope.task.late, n_dims + SPARE) if scope.regression.linear else scope.task.late
    wanted = min(late, n_points - 1 - SPARE) if len(read) > 1 else n_points - 1
    point = max(wanted, fewest)
    if point not in read:
        raise MesascopeError(
            f"{scope.source} predicts with at most {max(read)} points before, which do not determine w in "
            f"n_dims={n_dims}; attach with a task of at least n_points={n_dims + 1}"
        )
    return point


def has_a_traced_point(scope: Scope) -> bool:
    """Whether a model has a point whose prediction can be traced."""
    if not (isinstance(scope.model, HookedRegressor) and isinstance(scope.task, Regression)):
        return False
    try:
        traced_point(scope)
    except MesascopeError:
        return False
    return True


def sites_of(model: HookedRegressor, point: int, linear: bool = True) -> dict[Site, tuple[Variable, ...]]:
    """The sites of a prompt that ends at a point, and which variables are looked for there.

    The query's token alone, where the prediction arises; and all scratch tokens if the layout has such, otherwise all
    tokens that the query sees. On a task that is not linear in x there is y alone.
    """
    places = model.cfg.tokens.places(point + 1, model.cfg.n_dims)
    (query,) = range(len(places))[model.read_positions(point + 1)][-1:]
    units = tuple(position for position, place in enumerate(places) if place.holds == "unit")
    wide = Site("scratch tokens", units) if units else Site("all tokens", tuple(range(query + 1)))
    if not linear:
        return {Site("query", (query,)): ("y",)}
    return {Site("query", (query,)): ("y", "w", "b"), wide: ("w", "b", "S")}
