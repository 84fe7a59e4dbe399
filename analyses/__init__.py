"""The questions: one per file, each a function of a scope that returns a frozen result with claims and figures."""

from mesascope.analyses.claim import Claim, Figure, Result
from mesascope.analyses.identification import Identification, identify
from mesascope.analyses.performance import Performance, measure_performance
from mesascope.analyses.readouts import Readouts, fit_readouts
from mesascope.analyses.report import Report, write_report
from mesascope.analyses.scope import Scope, attach

__all__ = [
    "Claim",
    "Figure",
    "Identification",
    "Performance",
    "Readouts",
    "Report",
    "Result",
    "Scope",
    "attach",
    "fit_readouts",
    "identify",
    "measure_performance",
    "write_report",
]
