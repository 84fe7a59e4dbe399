import pytest
import torch

from mesascope.analyses.similarity import bench
from mesascope.models import LeastSquares, MesascopeError, Prompts
from mesascope.models.learners.base import Learner, Sweep

from ..conftest import STEP_TASK
from .conftest import FEW, Mean, match_of, quick


class Recorded(Learner):
    """Least squares that notes how many prompts it sees at a time."""

    family = "recorded"
    label = "recorded"

    def __init__(self):
        self.sizes: list[int] = []

    def predict(self, prompts: Prompts) -> torch.Tensor:
        self.sizes.append(len(prompts))
        return LeastSquares().predict(prompts)


@pytest.mark.parametrize("n_prompts", [100, 300])
def test_however_many_prompts_there_are_members_see_a_batch_of_them(monkeypatch, n_prompts):
    whole = quick(Mean(), n_prompts=n_prompts)
    monkeypatch.setattr(bench, "BATCH", 17)  # not even; prompts come in pairs
    recorded = Recorded()
    streamed = quick(Mean(), n_prompts=n_prompts, rivals=(*FEW, Sweep(recorded)))
    assert max(recorded.sizes) == 16
    for match in whole.errors.output.matches:
        again = match_of(streamed, match.family)
        assert again.learner == match.learner
        assert (again.similarity.value, *again.similarity.ci, again.shuffled) == pytest.approx(
            (match.similarity.value, *match.similarity.ci, match.shuffled), abs=1e-12
        )
    assert streamed.convergence.null == pytest.approx(whole.convergence.null)


def test_a_model_that_reads_one_point_needs_more_prompts(predicts_y):
    with pytest.raises(MesascopeError, match="n_prompts=799: expected at least 800 to compare on"):
        quick(predicts_y, STEP_TASK, n_prompts=799)
