"""What is looked at: prompts, tasks, hooked models, reference learners, training and checkpoints."""

from mesascope.models.architecture import RegressorConfig
from mesascope.models.errors import MesascopeError
from mesascope.models.formats import Checkpoint, checkpoints_of, load
from mesascope.models.learners import (
    Averaging,
    EstimatorLearner,
    FeatureLeastSquares,
    FilterLearner,
    GradientDescent,
    GradientDescentPlusPlus,
    GreedyTree,
    Lasso,
    Learner,
    LeastSquares,
    LogisticRegression,
    NearestNeighbours,
    Newton,
    PrefixMatching,
    Ridge,
    TwoLayerNet,
)
from mesascope.models.optima import optimal_preconditioner, optimal_step
from mesascope.models.prompts import Prompts
from mesascope.models.regressor import HookedRegressor
from mesascope.models.suites import prompting_suites
from mesascope.models.tasks import (
    AssociativeRecall,
    DecisionTree,
    LinearClassification,
    LinearRegression,
    QuadraticRegression,
    Regression,
    ReluNetwork,
    RepeatedSequence,
    Sine,
    SparseLinearRegression,
    Task,
)
from mesascope.models.training import RunConfig, save, train
from mesascope.models.tuning import tuned_gd_plus_plus

__all__ = [
    "AssociativeRecall",
    "Averaging",
    "Checkpoint",
    "DecisionTree",
    "EstimatorLearner",
    "FeatureLeastSquares",
    "FilterLearner",
    "GradientDescent",
    "GradientDescentPlusPlus",
    "GreedyTree",
    "HookedRegressor",
    "Lasso",
    "Learner",
    "LeastSquares",
    "LinearClassification",
    "LinearRegression",
    "LogisticRegression",
    "MesascopeError",
    "NearestNeighbours",
    "Newton",
    "PrefixMatching",
    "Prompts",
    "QuadraticRegression",
    "Regression",
    "RegressorConfig",
    "ReluNetwork",
    "RepeatedSequence",
    "Ridge",
    "RunConfig",
    "Sine",
    "SparseLinearRegression",
    "Task",
    "TwoLayerNet",
    "checkpoints_of",
    "load",
    "optimal_preconditioner",
    "optimal_step",
    "prompting_suites",
    "save",
    "train",
    "tuned_gd_plus_plus",
]
