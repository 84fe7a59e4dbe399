import pytest
import torch

from mesascope.models import HookedRegressor, LeastSquares, LinearRegression, RegressorConfig
from mesascope.models.training.held_out import HeldOut

TASK = LinearRegression(n_dims=2, n_points=6)
DECODER = RegressorConfig(n_dims=2, n_points=6, n_layers=1, n_heads=2, d_model=8)


def zero(model):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    return model


def test_a_model_that_predicts_zero_has_the_loss_of_zero():
    held_out = HeldOut(TASK, zero(HookedRegressor(DECODER)), 0, LeastSquares())
    prompts = TASK.sample(256, seed=0, stream="held out")
    exact = (LeastSquares().predict(prompts) - prompts.ys).square().mean().item()
    null = prompts.ys.square().mean().item()
    measured = held_out.measure()
    assert measured["held_out"] == pytest.approx(null, rel=1e-6)
    assert measured["excess"] == pytest.approx((null - exact) / TASK.null_loss, rel=1e-5)


def test_a_model_that_reads_one_point_is_held_against_the_reference_there():
    model = zero(HookedRegressor(RegressorConfig.linear_self_attention(2, 6, 1)))
    measured = HeldOut(TASK, model, 0, LeastSquares()).measure()
    prompts = TASK.sample(256, seed=0, stream="held out")
    # five noiseless points in two dimensions determine w
    assert measured["excess"] == pytest.approx(prompts.ys[:, -1].square().mean().item() / TASK.null_loss, rel=1e-5)


def test_measuring_leaves_no_gradient_and_no_hooks_behind():
    model = HookedRegressor(DECODER)
    HeldOut(TASK, model, 0, LeastSquares()).measure()
    assert all(parameter.grad is None for parameter in model.parameters())
