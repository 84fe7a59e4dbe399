"""What the score says where the answer is known."""

from collections.abc import Sequence
from functools import partial

from jaxtyping import Float
from torch import Tensor

from mesascope.analyses.scope import PredictorModel, Scope
from mesascope.analyses.similarity.bench import Bench
from mesascope.models.learners.base import Sweep
from mesascope.models.tasks import Regression
from mesascope.probes.similarity import ByErrors, Roster


def calibrate(
    task: Regression,
    planted: Sequence[Sweep],
    rivals: Sequence[Sweep],
    n_prompts: int = 1_000,
    seed: int = 0,
    empty_prefix: bool = False,
) -> Float[Tensor, "n_planted n_rivals"]:
    """Mean similarity of errors of some learners to others.

    Gradient descent after no step is the zero predictor.

    Args:
        task: Where.
        planted: Learners in the place of the model.
        rivals: Learners to hold them against.
        n_prompts: Prompts; rounded down to whole pairs.
        seed: Seed of the prompts.
        empty_prefix: Count the first point too.

    Raises:
        MesascopeError: There are fewer than 40 prompts.
    """
    scope = Scope(PredictorModel(planted[0].learner), task, "learners", seed)
    points = range(task.n_points)
    bench = Bench(scope, ByErrors(points, points if empty_prefix else points[1:], unit=1), n_fit=0)
    as_model = partial(bench.given, Roster(planted))
    return bench.tally(bench.enough(n_prompts), "similarity", as_model, Roster(rivals)).mean
