"""An identification on few prompts, and predictors to look at with it."""

import pytest
import torch

from mesascope.analyses import Identification, attach, identify
from mesascope.analyses.identification import discrimination
from mesascope.models import LinearRegression
from mesascope.models.battery import bounded, rivals
from mesascope.models.learners.base import Sweep
from mesascope.models.tasks import Regression

from ..conftest import WIDE

ISOTROPIC = LinearRegression(n_dims=5, n_points=20)
FEW = ("GD", "Newton", "ridge", "least squares", "averaging", "nearest neighbours")


def some(task: Regression, *families: str) -> list[Sweep]:
    return [sweep for sweep in rivals(task) if sweep.learner.family in (families or FEW)]


def quick(target: object, task: Regression = WIDE, **options: object) -> Identification:
    """On few prompts, against a few families, where it was trained alone.

    How hard the nearest rivals are to tell apart is asked of two, not of six: nothing else takes as long.
    """
    settings = {"n_prompts": 200, "n_tune": 80, "n_fit": 400, "shifts": False, "rivals": some(task)} | options
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(discrimination, "N_NEAREST", 2)
        return identify(attach(target, task=task), **settings)  # type: ignore[arg-type]


class Made:
    """A predictor made of others."""

    def __init__(self, predict):
        self.predict = predict


def with_noise(learner, share, task=WIDE):
    """A learner with errors of its own on top, relative to its predictions; other prompts, other errors."""

    # On prompts of its own: a scale of the predictions at hand would depend on every y.
    prompts = task.sample(1_000, seed=0, stream="scale", dtype=torch.float64)
    points = list(range(1, prompts.n_points))
    scale = share * bounded(learner.predict_at(prompts, points), prompts, points).square().mean().sqrt()

    def predict(prompts):
        exact = learner.predict(prompts)
        rng = torch.Generator().manual_seed(int(1e6 * prompts.xs.sum().abs()) % 2**31)
        return exact + scale * torch.randn(exact.shape, generator=rng).double()

    return Made(predict)
