"""The analyses of a report, in its order; a new one is one file (or folder) and one line here."""

from collections.abc import Callable
from typing import NamedTuple

from mesascope.analyses.causality import Causes, trace_causes
from mesascope.analyses.causality.causality import MIN_PROMPTS, N_PROMPTS
from mesascope.analyses.causality.places import has_a_traced_point
from mesascope.analyses.claim import Result
from mesascope.analyses.curvature import Curvature, detect_curvature
from mesascope.analyses.identification import Identification, identify
from mesascope.analyses.induction import Induction, find_induction, holds_heads
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


class Analysis(NamedTuple):
    """One analysis of a report."""

    run: Callable[[Scope, int], Result]
    """Scope and number of prompts to fit readouts on in, result out."""
    applies: Callable[[Scope], bool] = lambda scope: True
    """Whether the question makes sense for a scope."""
    needs: str = ""
    """What it asks of a scope, for a reader of a report that lacks it."""
    fits_readouts: bool = True
    """Whether the number of prompts means anything to it."""


def _has_readouts(scope: Scope) -> bool:
    return isinstance(scope.model, HookedRegressor) and isinstance(scope.task, Regression)


def _reads_later_points(scope: Scope) -> bool:
    """Before the first point every learner predicts zero."""
    return isinstance(scope.task, Regression) and any(scope.model.read_points(scope.task.n_points))


def _is_linear(scope: Scope) -> bool:
    return _reads_later_points(scope) and scope.regression.linear


def _has_joint_tokens(scope: Scope) -> bool:
    """In others x is not followed from layer to layer."""
    return isinstance(scope.model, HookedRegressor) and scope.model.cfg.layout == "joint" and holds_constructions(scope)


def _holds_a_construction(scope: Scope) -> bool:
    """One that can be run."""
    if not (isinstance(scope.task, LinearRegression) and holds_constructions(scope)):
        return False
    match = match_weights(scope)
    return match.family is not None and match.n_context is not None


def _steps_on_features(scope: Scope) -> bool:
    """Whether a gradient step may act on what layers before it made of x."""
    deep = _has_readouts(scope) and scope.hooked.cfg.n_layers > 1
    return deep and steps_on_features(scope.hooked)


_LATER = "a regression task and a point after the first that the model reads"

ANALYSES: dict[str, Analysis] = {
    Performance.name: Analysis(lambda scope, n: measure_performance(scope), fits_readouts=False),
    Readouts.name: Analysis(
        lambda scope, n: fit_readouts(scope, n_prompts=n), _has_readouts, "a hooked model and a regression task"
    ),
    Identification.name: Analysis(lambda scope, n: identify(scope, n_fit=n), _reads_later_points, _LATER),
    SpectralResponse.name: Analysis(
        lambda scope, n: measure_response(scope, n_fit=n),
        _is_linear,
        "a task that is linear in x and a point after the first that the model reads",
    ),
    Similarity.name: Analysis(lambda scope, n: measure_similarity(scope, n_fit=n), _reads_later_points, _LATER),
    Matching.name: Analysis(
        lambda scope, n: match_weights(scope),
        holds_constructions,
        "attention on tokens that hold x and y, or the architecture of a construction",
        fits_readouts=False,
    ),
    Curvature.name: Analysis(
        lambda scope, n: detect_curvature(scope),
        _has_joint_tokens,
        "attention on joint tokens (x, y)",
        fits_readouts=False,
    ),
    SideChecks.name: Analysis(
        lambda scope, n: check_construction(scope, match_weights(scope)),
        _holds_a_construction,
        "a family that holds every layer, in linear attention on linear regression; hold it against a construction of "
        "your own by check_construction(scope, gradient_descent(...))",
        fits_readouts=False,
    ),
    LearnedFeatures.name: Analysis(
        lambda scope, n: compare_on_features(scope),
        _steps_on_features,
        "layers before the only attention, which is linear and writes a y-slot",
        fits_readouts=False,
    ),
    Induction.name: Analysis(
        lambda scope, n: find_induction(scope), holds_heads, "attention: an LSTM has no heads", fits_readouts=False
    ),
    Causes.name: Analysis(
        # Its readouts are of all tokens and of every twin too: of no more prompts than its default, nor of too few.
        lambda scope, n: trace_causes(scope, n_prompts=min(max(n, MIN_PROMPTS), N_PROMPTS)),
        has_a_traced_point,
        "a hooked model on a regression task, and as many points before one that it reads as x has dimensions",
    ),
}
"""Analyses by the name they have in `report.json`."""
