"""What is looked at: prompts, tasks, hooked models, reference learners, training and checkpoints."""

from mesascope.models.errors import MesascopeError
from mesascope.models.formats import Checkpoint, load
from mesascope.models.learners import (
    FilterLearner,
    GradientDescent,
    Learner,
    LeastSquares,
    Newton,
    Ridge,
    optimal_step,
)
from mesascope.models.prompts import Prompts
from mesascope.models.regressor import HookedRegressor, RegressorConfig
from mesascope.models.tasks import LinearRegression
from mesascope.models.training import RunConfig, save, train

__all__ = [
    "Checkpoint",
    "FilterLearner",
    "GradientDescent",
    "HookedRegressor",
    "Learner",
    "LeastSquares",
    "LinearRegression",
    "MesascopeError",
    "Newton",
    "Prompts",
    "RegressorConfig",
    "Ridge",
    "RunConfig",
    "load",
    "optimal_step",
    "save",
    "train",
]
