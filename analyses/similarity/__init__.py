"""Whose errors, and whose weights, are each layer's like?"""

from mesascope.analyses.similarity.calibration import calibrate
from mesascope.analyses.similarity.comparison import Comparison
from mesascope.analyses.similarity.convergence import Convergence
from mesascope.analyses.similarity.course import Course
from mesascope.analyses.similarity.match import LayerSimilarity, Match
from mesascope.analyses.similarity.rivals import choose_rivals
from mesascope.analyses.similarity.similarity import Similarity, measure_similarity

__all__ = [
    "Comparison",
    "Convergence",
    "Course",
    "LayerSimilarity",
    "Match",
    "Similarity",
    "calibrate",
    "choose_rivals",
    "measure_similarity",
]
