import pytest
import torch

from mesascope.analyses.side_checks.agreement import CONSTRUCTION, MODEL
from mesascope.analyses.side_checks.iteration import N_ITERATIONS, iterated, roll_out
from mesascope.models import (
    GradientDescent,
    GradientDescentPlusPlus,
    HookedRegressor,
    MesascopeError,
    RegressorConfig,
    gd_plus_plus,
    gradient_descent,
    preconditioned_gradient_descent,
)
from mesascope.probes import token_basis

from .specimens import TASK, D, disturbed, step, with_junk

PROMPTS = TASK.sample(100, seed=0, dtype=D)


def rolled(model, other=None):
    compared = {MODEL: model, CONSTRUCTION: step() if other is None else other}
    return roll_out(compared, {0: token_basis(model)}, PROMPTS)


def relative(preds):
    ys = PROMPTS.ys[:, -1]
    return ((preds - ys).square().sum() / ys.square().sum()).item()


def test_an_iterated_step_is_gradient_descent_with_a_smaller_step():
    found = rolled(step(0.7)).losses[MODEL]
    assert len(found) == N_ITERATIONS + 1
    for k in (0, 1, 2, 10, 50):
        expected = relative(GradientDescent(k, 0.75 * 0.7).predict(PROMPTS)[:, -1])
        assert found[k].value == pytest.approx(expected, rel=1e-9)


def tied(eta, gamma, damping=1.0):
    cfg = RegressorConfig.linear_self_attention(4, 13, 2, tied=True)
    model = HookedRegressor(RegressorConfig.model_validate(cfg.model_dump() | {"damping": damping})).to(D)
    model.load_state_dict(gd_plus_plus(4, 13, [eta, eta], [gamma, gamma], dtype=D).state_dict())
    return model


def test_tied_layers_are_iterated_as_one_with_their_own_damping():
    found = rolled(tied(0.5, 0.1, damping=0.8), tied(0.4, 0.08))
    assert max(difference.value for difference in found.differences[MODEL]) < 1e-9
    expected = GradientDescentPlusPlus((0.75 * 0.4,) * 20, (0.75 * 0.08,) * 20).predict(PROMPTS)[:, -1]
    assert found.losses[CONSTRUCTION][20].value == pytest.approx(relative(expected), rel=1e-9)


def test_what_a_single_layer_was_never_trained_for_is_left_out():
    assert max(found.value for found in rolled(with_junk(step())).differences[MODEL]) < 1e-9


def test_the_widest_difference_is_found():
    found = rolled(disturbed(step(), 0.05))
    values = [difference.value for difference in found.differences[MODEL]]
    assert values[found.widest(MODEL)] == max(values) > values[0] == 0
    assert found.data()["losses"][MODEL][3]["value"] == found.losses[MODEL][3].value


def test_a_preconditioned_step_with_a_read_in_is_iterated_too():
    model = preconditioned_gradient_descent(13, 0.5 * torch.eye(4, dtype=D), w0=torch.ones(4), dtype=D)
    found = rolled(with_junk(model), model)
    assert max(difference.value for difference in found.differences[MODEL]) < 1e-9
    assert found.losses[CONSTRUCTION][50].value < 1e-3


def test_layers_of_their_own_do_not_iterate():
    model = gradient_descent(4, 13, [0.4, 0.7], dtype=D)
    with pytest.raises(MesascopeError, match="iteration does not apply: the model's 2 layers"):
        iterated(model, {0: token_basis(model)})


def test_a_learned_read_out_does_not_either():
    cfg = RegressorConfig.model_validate(step().cfg.model_dump() | {"read_out": "affine"})
    with pytest.raises(MesascopeError, match="is no prediction"):
        iterated(HookedRegressor(cfg), {0: token_basis(step())})
