"""Reference learners; a new one is one file with a subclass of `Learner` or `FilterLearner`."""

from mesascope.models.learners.base import FilterLearner, Learner
from mesascope.models.learners.first_order import GradientDescent, OptimalStep, optimal_step
from mesascope.models.learners.least_squares import LeastSquares, Ridge
from mesascope.models.learners.newton import ALPHAS, Newton

__all__ = [
    "ALPHAS",
    "FilterLearner",
    "GradientDescent",
    "Learner",
    "LeastSquares",
    "Newton",
    "OptimalStep",
    "Ridge",
    "optimal_step",
]
