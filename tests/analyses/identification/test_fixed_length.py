"""A module that reads so many points and no more."""

import torch

from mesascope.analyses import Identification, attach, identify
from mesascope.analyses.findings import run_analyses
from mesascope.analyses.registry import Analysis
from mesascope.models import GradientDescent, LinearRegression, Prompts

from .quickly import some

TASK = LinearRegression(n_dims=3, n_points=8)


class Positions:
    """Gradient descent, to which positions are added; there are eight."""

    def predict(self, prompts: Prompts) -> torch.Tensor:
        return GradientDescent(2, 0.1).predict(prompts) + torch.zeros(8)

    def __repr__(self) -> str:
        return "a module with 8 positions"


def test_a_shift_that_a_module_cannot_read_is_listed_with_its_reason():
    scope = attach(Positions(), task=TASK)
    rivals = some(TASK, "GD", "least squares", "nearest neighbours")
    analysis = Analysis(lambda scope, n: identify(scope, n_prompts=40, n_tune=40, rivals=rivals))
    findings = run_analyses(scope, {"identification": analysis}, 40, lambda result: result)
    assert findings.failed == {} and findings.mistake is None
    found = findings.found["identification"]
    assert isinstance(found, Identification) and found.scorecard is not None
    refused = {score.shift: score.reason for score in found.scorecard.scores if score.missed is None}
    assert {"4 points", "16 points"} <= set(refused)
    assert refused["16 points"].startswith(
        "a module with 8 positions failed on prompts of 16 points in 3 dimensions: RuntimeError: The size of tensor"
    )
