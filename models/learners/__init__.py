"""Reference learners; a new one is one file with a subclass of `Learner`, `IterativeLearner` or `FilterLearner`."""

from mesascope.models.learners.averaging import Averaging
from mesascope.models.learners.base import FilterLearner, IterativeLearner, Learner, Sweep
from mesascope.models.learners.bayes_optimal import bayes_optimal
from mesascope.models.learners.chebyshev import Chebyshev
from mesascope.models.learners.conjugate_gradient import ConjugateGradient
from mesascope.models.learners.curvature_corrected import GradientDescentPlusPlus
from mesascope.models.learners.discrete_mmse import DiscreteMMSE
from mesascope.models.learners.estimators import (
    EstimatorLearner,
    GreedyTree,
    Lasso,
    LogisticRegression,
    TwoLayerNet,
)
from mesascope.models.learners.features import FEATURES, FeatureLeastSquares
from mesascope.models.learners.first_order import GradientDescent
from mesascope.models.learners.lasso_path import LassoPath
from mesascope.models.learners.least_squares import LeastSquares, Ridge
from mesascope.models.learners.momentum import Momentum
from mesascope.models.learners.nearest_neighbours import NearestNeighbours
from mesascope.models.learners.newton import ALPHAS, Newton
from mesascope.models.learners.online import OnlineGradientDescent
from mesascope.models.learners.preconditioned import PreconditionedGradientDescent
from mesascope.models.learners.prefix_matching import PrefixMatching
from mesascope.models.learners.quasi_newton import BFGS, LBFGS
from mesascope.models.learners.scheduled import ScheduledGradientDescent

__all__ = [
    "ALPHAS",
    "BFGS",
    "FEATURES",
    "LBFGS",
    "Averaging",
    "Chebyshev",
    "ConjugateGradient",
    "DiscreteMMSE",
    "EstimatorLearner",
    "FeatureLeastSquares",
    "FilterLearner",
    "GradientDescent",
    "GradientDescentPlusPlus",
    "GreedyTree",
    "IterativeLearner",
    "Lasso",
    "LassoPath",
    "Learner",
    "LeastSquares",
    "LogisticRegression",
    "Momentum",
    "NearestNeighbours",
    "Newton",
    "OnlineGradientDescent",
    "PreconditionedGradientDescent",
    "PrefixMatching",
    "Ridge",
    "ScheduledGradientDescent",
    "Sweep",
    "TwoLayerNet",
    "bayes_optimal",
]
