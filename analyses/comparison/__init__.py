"""Checkpoints side by side: what differs, and by how much."""

from mesascope.analyses.comparison.comparison import Comparison, compare
from mesascope.analyses.comparison.write import write_comparison

__all__ = ["Comparison", "compare", "write_comparison"]
