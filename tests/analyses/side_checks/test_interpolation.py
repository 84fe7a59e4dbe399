import pytest
import torch

from mesascope.analyses.side_checks.agreement import Agreement, Behaviour, at_the_query
from mesascope.analyses.side_checks.interpolation import interpolate, one_head
from mesascope.models import (
    HookedRegressor,
    MesascopeError,
    RegressorConfig,
    copy_then_descend,
    gd_plus_plus,
    gradient_descent,
    regauge,
)
from mesascope.probes import token_basis

from .specimens import TASK, D, disturbed, in_heads, step

PROMPTS = TASK.sample(300, seed=0, dtype=D)


def way(model, other, prompts=PROMPTS):
    basis = token_basis(model)
    return interpolate(model, other, dict.fromkeys(range(model.cfg.n_layers), basis), prompts)


def loss(model):
    behaviour = Behaviour.of(at_the_query(model), PROMPTS)
    return Agreement.of(behaviour, behaviour, PROMPTS.ys[:, -1]).loss


def test_the_way_to_another_gauge_is_flat():
    model = gd_plus_plus(4, 13, [0.4, 0.7], [0.2, 0.0], dtype=D)
    path = way(model, regauge(model, seed=1))
    assert [found.value for found in path.losses] == pytest.approx([loss(model).value] * 11)
    assert path.barrier.value == pytest.approx(1)
    assert path.lost == pytest.approx(0, abs=1e-12)


@torch.no_grad()
def test_mixing_weights_as_they_are_is_not():
    model = step()
    other = regauge(model, seed=1)
    mixed = HookedRegressor(model.cfg).to(D)
    for name, weight in mixed.named_parameters():
        weight.copy_((model.get_parameter(name) + other.get_parameter(name)) / 2)
    assert loss(mixed).value > 1.3 * loss(model).value


def test_the_ends_are_the_networks_and_halfway_is_halfway():
    # Both QK are the identity, so that mixed steps are steps of the mean size.
    path = way(step(0.2), regauge(step(0.8), seed=3))
    for index, eta in ((0, 0.2), (5, 0.5), (10, 0.8)):
        assert path.losses[index].ci == pytest.approx(loss(step(eta)).ci)
    chord = (loss(step(0.2)).value + loss(step(0.8)).value) / 2
    assert path.halfway.value == pytest.approx(loss(step(0.5)).value / chord)
    assert path.data()["weights"][5] == 0.5


def test_what_has_nothing_in_common_has_a_barrier():
    model = disturbed(gradient_descent(4, 13, [0.4, 0.7], dtype=D))
    assert way(model, model.untrained_twin(3)).barrier.low > 10


def test_heads_that_share_a_step_are_summed_into_one():
    model = regauge(in_heads(step(), n_heads=3, d_head=2), seed=0)
    head, lost = one_head(model.attentions[0])
    assert lost == pytest.approx(0, abs=1e-12)
    expected = torch.einsum("ij,kl->ijkl", step().OV.AB[0, 0], step().QK.AB[0, 0])
    torch.testing.assert_close(torch.einsum("ij,kl->ijkl", head.OV, head.QK), expected)
    assert way(model, in_heads(step(), n_heads=3, d_head=2)).barrier.value == pytest.approx(1)


def test_what_one_head_leaves_is_what_brute_force_says():
    model = HookedRegressor(RegressorConfig.linear_self_attention(4, 13, 1, n_heads=3)).to(D)
    layer = model.attentions[0]
    T = torch.einsum("hij,hkl->ijkl", layer.W_V @ layer.W_O, layer.W_Q @ layer.W_K.mT).reshape(25, 25)
    values = torch.linalg.svdvals(T).square()
    assert one_head(layer)[1] == pytest.approx((1 - values[0] / values.sum()).item())


def test_a_layer_of_zeros_loses_nothing():
    zero = step(0.0)
    assert one_head(zero.attentions[0])[1] == 0


def test_heads_that_do_not_sum_to_one_are_refused():
    model = HookedRegressor(RegressorConfig.linear_self_attention(4, 13, 1, n_heads=2)).to(D)
    with pytest.raises(MesascopeError, match="the 2 heads of layer 1 do not sum to one"):
        way(model, in_heads(step(), 2, 5))


def test_another_architecture_is_refused():
    with pytest.raises(MesascopeError, match="another architecture"):
        way(step(), gradient_descent(4, 13, [0.4, 0.7], dtype=D))


def test_networks_that_differ_elsewhere_are_refused():
    one, two = (gradient_descent(4, 13, 0.4, w0=w0 * torch.ones(4), dtype=D) for w0 in (0.5, 0.6))
    with pytest.raises(MesascopeError, match="differs from the model in embed.W_E too"):
        way(one, two)


def test_layers_with_softmax_stay():
    one, two = (copy_then_descend(4, 9, eta, dtype=D) for eta in (0.3, 0.5))
    task = TASK.model_copy(update={"n_points": 9})
    path = way(one, two, task.sample(100, seed=0, dtype=D))
    assert path.losses[0].value != path.losses[-1].value
    assert path.barrier.value <= 1


def test_biases_are_refused():
    cfg = RegressorConfig.model_validate(step().cfg.model_dump() | {"attention_bias": True})
    model = HookedRegressor(cfg).to(D)
    model.load_state_dict(step().state_dict(), strict=False)
    assert way(model, step()).barrier.value == pytest.approx(1)
    with torch.no_grad():
        model.get_parameter("blocks.0.attn.out_bias").fill_(1)
    with pytest.raises(MesascopeError, match="attention of layer 1 has biases"):
        way(model, step())


@torch.no_grad()
def test_nothing_to_normalise_by_is_refused():
    model = step()
    model.attentions[0].W_Q[0, :2] *= -1
    with pytest.raises(MesascopeError, match="mean diagonal of zero"):
        way(model, step())
