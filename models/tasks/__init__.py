"""Tasks: seeded sources of prompts. A new task is one new file and one line in the union here."""

from typing import Annotated

from pydantic import Field

from mesascope.models.tasks.associative_recall import AssociativeRecall
from mesascope.models.tasks.base import Regression, Task
from mesascope.models.tasks.decision_tree import DecisionTree
from mesascope.models.tasks.linear_classification import LinearClassification
from mesascope.models.tasks.linear_regression import LinearRegression
from mesascope.models.tasks.quadratic_regression import QuadraticRegression
from mesascope.models.tasks.relu_network import ReluNetwork
from mesascope.models.tasks.repeated_sequence import RepeatedSequence
from mesascope.models.tasks.sine import Sine
from mesascope.models.tasks.sparse_linear_regression import SparseLinearRegression
from mesascope.models.tasks.token_sequence import TokenSequence

AnyTask = Annotated[
    LinearRegression
    | SparseLinearRegression
    | QuadraticRegression
    | ReluNetwork
    | DecisionTree
    | LinearClassification
    | Sine
    | RepeatedSequence
    | AssociativeRecall,
    Field(discriminator="name"),
]
"""Any task, as YAML and JSON hold it; `name` says which."""

__all__ = [
    "AnyTask",
    "AssociativeRecall",
    "DecisionTree",
    "LinearClassification",
    "LinearRegression",
    "QuadraticRegression",
    "Regression",
    "ReluNetwork",
    "RepeatedSequence",
    "Sine",
    "SparseLinearRegression",
    "Task",
    "TokenSequence",
]
