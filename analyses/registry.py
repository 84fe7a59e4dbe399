"""The analyses of a report, in its order; a new one is one file and one line here."""

from collections.abc import Callable

from mesascope.analyses.claim import Result
from mesascope.analyses.identification import Identification, identify
from mesascope.analyses.performance import Performance, measure_performance
from mesascope.analyses.readouts import Readouts, fit_readouts
from mesascope.analyses.scope import Scope
from mesascope.models import HookedRegressor
from mesascope.models.tasks import Regression

Analysis = Callable[[Scope, int], Result | None]
"""Scope and number of prompts in, result out; None where the analysis does not apply to the scope."""


def _readouts(scope: Scope, n_prompts: int) -> Result | None:
    applies = isinstance(scope.model, HookedRegressor) and isinstance(scope.task, Regression)
    return fit_readouts(scope, n_prompts=n_prompts) if applies else None


def _identification(scope: Scope, n_prompts: int) -> Result | None:
    # Before the first point every learner predicts zero.
    reads_later_points = any(scope.model.read_points(scope.task.n_points))
    applies = reads_later_points and isinstance(scope.task, Regression)
    return identify(scope, n_fit=n_prompts) if applies else None


ANALYSES: dict[str, Analysis] = {
    Performance.name: lambda scope, n_prompts: measure_performance(scope),
    Readouts.name: _readouts,
    Identification.name: _identification,
}
"""Analyses by the name they have in `report.json`."""
