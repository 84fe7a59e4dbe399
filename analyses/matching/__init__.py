"""Weights against constructions."""

from mesascope.analyses.matching.matching import Matching, match_weights

__all__ = ["Matching", "match_weights"]
