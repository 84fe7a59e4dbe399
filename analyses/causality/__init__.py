"""Causality: is what is read out also used?"""

from mesascope.analyses.causality.causality import Causes, trace_causes

__all__ = ["Causes", "trace_causes"]
