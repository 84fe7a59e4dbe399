import pytest
import torch

from mesascope.analyses import attach
from mesascope.analyses.matching import Matching, match_weights
from mesascope.analyses.matching.whole import WholeMatch, constructions_of
from mesascope.analyses.side_checks.construction import constructed, with_heads
from mesascope.models import (
    HookedRegressor,
    LinearRegression,
    MesascopeError,
    RegressorConfig,
    copy_then_descend,
    gd_plus_plus,
    gradient_descent,
    newton,
    preconditioned_gradient_descent,
    regauge,
)
from mesascope.models.constructions.assembly import Head

from .specimens import TASK, D, disturbed, in_heads, rotated, rotation, step, with_junk

N, P = TASK.n_dims, TASK.n_points
TRIANGLE = torch.eye(N, dtype=D).cumsum(0) + torch.eye(N, dtype=D)
CONSTRUCTIONS = {
    "gd": lambda: gradient_descent(N, P, [0.4, 0.7], dtype=D),
    "gd from w0": lambda: gradient_descent(N, P, 0.4, w0=torch.tensor([1.0, -0.5, 0.2, 0.0]), dtype=D),
    "gd++": lambda: gd_plus_plus(N, P, [0.4, 0.7], [0.2, 0.0], dtype=D),
    "preconditioned": lambda: preconditioned_gradient_descent(P, TRIANGLE / 5, dtype=D),
}


def prompts_of(model):
    return LinearRegression(n_dims=model.cfg.n_dims, n_points=model.cfg.n_points).sample(40, seed=0, dtype=D)


def predict(model, prompts):
    with torch.no_grad():
        return model(prompts.xs, prompts.ys)


def matched(model, task=TASK):
    scope = attach(model, task=task)
    return constructed(scope, match_weights(scope))


@pytest.mark.parametrize("name", CONSTRUCTIONS)
def test_a_construction_in_any_gauge_is_its_own(name):
    model = regauge(CONSTRUCTIONS[name](), seed=1)
    prompts = prompts_of(model)
    torch.testing.assert_close(predict(matched(model), prompts), predict(model, prompts), rtol=1e-9, atol=1e-9)


def test_noise_is_left_behind():
    model = disturbed(step())
    prompts = prompts_of(model)
    (match,) = match_weights(attach(model, task=TASK)).layers
    assert match.best is not None
    eta = match.best.scalars["η"].value
    # What remains beside a plain step is W0, a scalar of the family too.
    torch.testing.assert_close(predict(matched(model), prompts), predict(step(eta), prompts), rtol=0, atol=0.1)
    assert (predict(model, prompts) - predict(step(eta), prompts)).abs().max() > 1e-3


def test_what_reaches_no_output_is_zero():
    found = matched(with_junk(step()))
    torch.testing.assert_close(found.OV.AB[0, 0, :, :N], torch.zeros(N + 1, N, dtype=D))


def test_tied_layers_stay_tied():
    cfg = RegressorConfig.linear_self_attention(N, P, 2, tied=True)
    model = HookedRegressor(cfg).to(D)
    model.load_state_dict(gd_plus_plus(N, P, [0.4, 0.4], [0.2, 0.2], dtype=D).state_dict())
    found = matched(model)
    assert found.blocks[0].attn.qkv_weight is found.blocks[1].attn.qkv_weight
    torch.testing.assert_close(predict(found, prompts_of(model)), predict(model, prompts_of(model)))


def test_damping_is_undone():
    cfg = RegressorConfig.model_validate(step().cfg.model_dump() | {"damping": 0.5})
    model = HookedRegressor(cfg).to(D)
    model.load_state_dict(step().state_dict())
    torch.testing.assert_close(predict(matched(model), prompts_of(model)), predict(model, prompts_of(model)))


def test_rotated_inputs_have_the_rotated_construction():
    model = disturbed(gd_plus_plus(N, P, [0.4, 0.7], [0.2, 0.0], dtype=D))
    prompts = prompts_of(model)
    turned = type(prompts)(prompts.xs @ rotation(N), prompts.ys)
    torch.testing.assert_close(
        predict(matched(rotated(model)), turned), predict(matched(model), prompts), rtol=1e-7, atol=1e-7
    )


def test_a_layer_that_copies_stays_and_the_step_behind_it_is_built():
    model = copy_then_descend(3, 9, 0.6, dtype=D)
    task = LinearRegression(n_dims=3, n_points=9)
    torch.testing.assert_close(predict(matched(model, task), prompts_of(model)), predict(model, prompts_of(model)))


def test_what_was_matched_as_a_whole_is_built_as_a_whole():
    model = newton(3, 12, 2, 0.01, dtype=D)
    (construction,) = constructions_of(model.cfg)
    match = Matching((), WholeMatch(construction.name, "α", 0.02, 0.01, (1.0,)), None, 0)
    found = constructed(attach(regauge(model, seed=2), task=LinearRegression(n_dims=3, n_points=12)), match)
    expected = predict(newton(3, 12, 2, 0.02, dtype=D), prompts_of(model))
    torch.testing.assert_close(predict(found, prompts_of(model)), expected)


def test_products_are_spread_over_heads_that_are_too_narrow():
    model = in_heads(step(), n_heads=3, d_head=2)
    prompts = prompts_of(model)
    torch.testing.assert_close(predict(model, prompts), predict(step(), prompts))
    torch.testing.assert_close(predict(matched(model), prompts), predict(model, prompts))


def test_too_few_heads_are_refused():
    cfg = RegressorConfig.model_validate(step().cfg.model_dump() | {"d_head": 2})
    with pytest.raises(MesascopeError, match="needs 2 heads of width 2, and there are 1"):
        with_heads(HookedRegressor(cfg), {0: Head(step().QK.AB[0, 0], step().OV.AB[0, 0])})


def test_a_head_of_zeros_is_written():
    zero = torch.zeros(N + 1, N + 1, dtype=D)
    assert not predict(with_heads(step(), {0: Head(zero, zero)}), prompts_of(step())).any()


def test_no_construction_is_a_clean_error():
    scope = attach(step().untrained_twin(3), task=TASK)
    with pytest.raises(MesascopeError, match=r"no construction was matched.*check_construction\(scope, gradient_desc"):
        constructed(scope, match_weights(scope))


def test_softmax_runs_no_such_construction():
    scope = attach("zoo:softmax-heads")
    with pytest.raises(MesascopeError, match="layer 1 has softmax attention"):
        constructed(scope, match_weights(scope))


def test_the_match_of_another_model_is_refused():
    other = match_weights(attach(CONSTRUCTIONS["gd"](), task=TASK))
    with pytest.raises(MesascopeError, match="2 layers were matched but a hooked model has 1"):
        constructed(attach(step(), task=TASK), other)


@pytest.mark.parametrize("factor", [1.0, 3.0, -1.0])
def test_a_step_behind_a_learned_read_out_is_built_as_long_as_it_is_read(factor):
    cfg = RegressorConfig.linear_self_attention(3, 8, 1).model_copy(update={"read_in": "affine", "read_out": "affine"})
    plain, model = gradient_descent(3, 8, [0.5]), HookedRegressor(cfg)
    weights = dict(model.named_parameters())
    with torch.no_grad():
        weights["embed.W_E"].copy_(torch.eye(4))
        weights["unembed.W_U"].copy_(-factor * torch.eye(4)[:, -1:])
        for name in ("W_Q", "W_K", "W_V", "W_O"):
            getattr(model.attentions[0], name).copy_(getattr(plain.attentions[0], name))
    scope = attach(model, task=LinearRegression(n_dims=3, n_points=8))
    match = match_weights(scope)
    if factor < 0:
        with pytest.raises(MesascopeError, match="no construction was matched"):
            constructed(scope, match)
        return
    prompts = scope.prompts(20, "side checks")
    built = constructed(scope, match)
    torch.testing.assert_close(built(prompts.xs, prompts.ys), model(prompts.xs, prompts.ys), rtol=1e-4, atol=1e-5)
