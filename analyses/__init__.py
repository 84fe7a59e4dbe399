"""The questions, a file or folder each: functions of a scope that return frozen results with claims and figures."""

from mesascope.analyses.causality import Causes, trace_causes
from mesascope.analyses.claim import Claim, Figure, Result
from mesascope.analyses.comparison import Comparison, compare, write_comparison
from mesascope.analyses.curvature import Curvature, detect_curvature
from mesascope.analyses.development import Development, Followed, trace_development, write_development
from mesascope.analyses.identification import Design, Identification, design_prompts, identify
from mesascope.analyses.induction import Induction, find_induction
from mesascope.analyses.matching import Matching, match_weights
from mesascope.analyses.performance import Performance, measure_performance
from mesascope.analyses.readouts import Readouts, fit_readouts
from mesascope.analyses.report import Report, export_figures, write_report
from mesascope.analyses.scope import Scope, attach
from mesascope.analyses.side_checks import LearnedFeatures, SideChecks, check_construction, compare_on_features
from mesascope.analyses.similarity import Similarity, measure_similarity
from mesascope.analyses.spectral import SpectralResponse, measure_response
from mesascope.analyses.sweep import Cluster, Sweep, sweep_checkpoints, write_sweep

__all__ = [
    "Causes",
    "Claim",
    "Cluster",
    "Comparison",
    "Curvature",
    "Design",
    "Development",
    "Figure",
    "Followed",
    "Identification",
    "Induction",
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
    "Sweep",
    "attach",
    "check_construction",
    "compare",
    "compare_on_features",
    "design_prompts",
    "detect_curvature",
    "export_figures",
    "find_induction",
    "fit_readouts",
    "identify",
    "match_weights",
    "measure_performance",
    "measure_response",
    "measure_similarity",
    "sweep_checkpoints",
    "trace_causes",
    "trace_development",
    "write_comparison",
    "write_development",
    "write_report",
    "write_sweep",
]
