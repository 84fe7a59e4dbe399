"""The questions, a file or folder each: functions of a scope that return frozen results with claims and figures."""

from mesascope.analyses.claim import Claim, Figure, Result
from mesascope.analyses.curvature import Curvature, detect_curvature
from mesascope.analyses.identification import Design, Identification, design_prompts, identify
from mesascope.analyses.matching import Matching, match_weights
from mesascope.analyses.performance import Performance, measure_performance
from mesascope.analyses.readouts import Readouts, fit_readouts
from mesascope.analyses.report import Report, write_report
from mesascope.analyses.scope import Scope, attach
from mesascope.analyses.side_checks import LearnedFeatures, SideChecks, check_construction, compare_on_features
from mesascope.analyses.similarity import Similarity, measure_similarity
from mesascope.analyses.spectral import SpectralResponse, measure_response

__all__ = [
    "Claim",
    "Curvature",
    "Design",
    "Figure",
    "Identification",
    "LearnedFeatures",
    "Matching",
    "Performance",
    "Readouts",
    "Report",
    "Result",
    "Scope",
    "SideChecks",
    "Similarity",
    "SpectralResponse",
    "attach",
    "check_construction",
    "compare_on_features",
    "design_prompts",
    "detect_curvature",
    "fit_readouts",
    "identify",
    "match_weights",
    "measure_performance",
    "measure_response",
    "measure_similarity",
    "write_report",
]
