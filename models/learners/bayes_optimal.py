"""The best possible learner on a task."""

from typing import TYPE_CHECKING

from mesascope.models.errors import MesascopeError
from mesascope.models.learners.base import Learner

if TYPE_CHECKING:
    from mesascope.models.tasks.base import Task


def bayes_optimal(task: "Task") -> Learner:
    """The posterior mean of y: ridge regression at (noise_std/w_std)², least squares without noise.

    Raises:
        MesascopeError: It has no closed form, since the task is not linear regression with w ~ N(0, w_std² I).
    """
    from mesascope.models.tasks import LinearRegression  # tasks import the learners

    if not isinstance(task, LinearRegression):
        raise MesascopeError(
            f"no closed form of the Bayes-optimal learner on {task.name}; expected linear_regression, see "
            "task.references() for the learners to hold a model against"
        )
    return task.references()[0]
