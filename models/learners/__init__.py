"""Reference learners; a new one is one file with a subclass of `Learner` or `FilterLearner`."""

from mesascope.models.learners.averaging import Averaging
from mesascope.models.learners.base import FilterLearner, Learner
from mesascope.models.learners.curvature_corrected import GradientDescentPlusPlus
from mesascope.models.learners.estimators import (
    EstimatorLearner,
    GreedyTree,
    Lasso,
    LogisticRegression,
    TwoLayerNet,
)
from mesascope.models.learners.features import FEATURES, FeatureLeastSquares
from mesascope.models.learners.first_order import GradientDescent
from mesascope.models.learners.least_squares import LeastSquares, Ridge
from mesascope.models.learners.nearest_neighbours import NearestNeighbours
from mesascope.models.learners.newton import ALPHAS, Newton
from mesascope.models.learners.prefix_matching import PrefixMatching

__all__ = [
    "ALPHAS",
    "FEATURES",
    "Averaging",
    "EstimatorLearner",
    "FeatureLeastSquares",
    "FilterLearner",
    "GradientDescent",
    "GradientDescentPlusPlus",
    "GreedyTree",
    "Lasso",
    "Learner",
    "LeastSquares",
    "LogisticRegression",
    "NearestNeighbours",
    "Newton",
    "PrefixMatching",
    "Ridge",
    "TwoLayerNet",
]
