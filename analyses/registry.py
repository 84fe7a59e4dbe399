"""The analyses of a report, in its order; a new one is one file (or folder) and one line here."""

from collections.abc import Callable

from mesascope.analyses.claim import Result
from mesascope.analyses.curvature import Curvature, detect_curvature
from mesascope.analyses.identification import Identification, identify
from mesascope.analyses.matching import Matching, holds_constructions, match_weights
from mesascope.analyses.performance import Performance, measure_performance
from mesascope.analyses.readouts import Readouts, fit_readouts
from mesascope.analyses.scope import Scope
from mesascope.analyses.side_checks import LearnedFeatures, SideChecks, check_construction, compare_on_features
from mesascope.analyses.side_checks.learned_features import steps_on_features
from mesascope.analyses.similarity import Similarity, measure_similarity
from mesascope.analyses.spectral import SpectralResponse, measure_response
from mesascope.models import HookedRegressor, LinearRegression
from mesascope.models.tasks import Regression

Analysis = Callable[[Scope, int], Result | None]
"""Scope and number of prompts in, result out; None where the analysis does not apply to the scope."""


def _readouts(scope: Scope, n_prompts: int) -> Result | None:
    applies = isinstance(scope.model, HookedRegressor) and isinstance(scope.task, Regression)
    return fit_readouts(scope, n_prompts=n_prompts) if applies else None


def _identification(scope: Scope, n_prompts: int) -> Result | None:
    return identify(scope, n_fit=n_prompts) if _reads_later_points(scope) else None


def _reads_later_points(scope: Scope) -> bool:
    """Before the first point every learner predicts zero."""
    return isinstance(scope.task, Regression) and any(scope.model.read_points(scope.task.n_points))


def _spectral(scope: Scope, n_prompts: int) -> Result | None:
    applies = _reads_later_points(scope) and scope.regression.linear
    return measure_response(scope, n_fit=n_prompts) if applies else None


def _similarity(scope: Scope, n_prompts: int) -> Result | None:
    return measure_similarity(scope, n_fit=n_prompts) if _reads_later_points(scope) else None


def _matching(scope: Scope, n_prompts: int) -> Result | None:
    return match_weights(scope) if holds_constructions(scope) else None


def _curvature(scope: Scope, n_prompts: int) -> Result | None:
    """Where tokens hold both x and y: in others x is not followed from layer to layer."""
    joint = isinstance(scope.model, HookedRegressor) and scope.model.cfg.layout == "joint"
    return detect_curvature(scope) if joint and holds_constructions(scope) else None


def _side_checks(scope: Scope, n_prompts: int) -> Result | None:
    """Where a construction that can be run was found."""
    if not (isinstance(scope.task, LinearRegression) and holds_constructions(scope)):
        return None
    match = match_weights(scope)
    return check_construction(scope, match) if match.family is not None and match.n_context is not None else None


def _learned_features(scope: Scope, n_prompts: int) -> Result | None:
    """Where a gradient step may act on what layers before it made of x."""
    model = scope.model
    deep = isinstance(model, HookedRegressor) and isinstance(scope.task, Regression) and model.cfg.n_layers > 1
    return compare_on_features(scope) if deep and steps_on_features(scope.hooked) else None


NEEDS = {
    "readouts": "a hooked model and a regression task",
    "identification": "a regression task and a point after the first that the model reads",
    "spectral": "a task that is linear in x and a point after the first that the model reads",
    "similarity": "a regression task and a point after the first that the model reads",
    "matching": "attention on tokens that hold x and y, or the architecture of a construction",
    "curvature": "attention on joint tokens (x, y)",
    "side-checks": "a family that holds every layer, in linear attention on linear regression; hold it against a "
    "construction of your own by check_construction(scope, gradient_descent(...))",
    "learned-features": "layers before the only attention, which is linear and writes a y-slot",
}
"""What each analysis asks of a scope."""
ANALYSES: dict[str, Analysis] = {
    Performance.name: lambda scope, n_prompts: measure_performance(scope),
    Readouts.name: _readouts,
    Identification.name: _identification,
    SpectralResponse.name: _spectral,
    Similarity.name: _similarity,
    Matching.name: _matching,
    Curvature.name: _curvature,
    SideChecks.name: _side_checks,
    LearnedFeatures.name: _learned_features,
}
"""Analyses by the name they have in `report.json`."""
