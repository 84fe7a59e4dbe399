"""Weights against constructions."""

from mesascope.analyses.matching.matching import Matching, holds_constructions, match_weights

__all__ = ["Matching", "holds_constructions", "match_weights"]
