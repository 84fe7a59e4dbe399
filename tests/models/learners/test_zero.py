import torch

from mesascope.models import LinearRegression, learners
from mesascope.models.learners.zero import Zero

from .prompts import prompts_of


def test_zero_predicts_zero_everywhere_in_float64():
    prompts = prompts_of(n_prompts=3)
    preds = Zero().predict(prompts)
    assert preds.dtype == torch.float64 and preds.shape == prompts.ys.shape and not preds.any()
    assert Zero().predict_at(prompts, [2, 5]).shape == (3, 2)


def test_zero_is_a_floor_and_no_rival():
    assert Zero().label == Zero.family == "zero"
    assert Zero.sweeps(LinearRegression()) == () and "Zero" not in learners.__all__
    assert Zero().strength == {} and len(Zero().parameters()) == 0
    assert Zero() == Zero()
