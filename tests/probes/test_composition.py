import pytest
import torch

from mesascope.models import HookedRegressor, RegressorConfig, induction, regauge
from mesascope.probes.composition import compose, copying_scores, token_circuits
from tests.models.families import FAMILIES, changed


def decoder(seed=0, **fields):
    return HookedRegressor(changed(FAMILIES["decoder"], **fields), seed).double()


def test_a_score_is_the_norm_of_the_product_over_the_product_of_norms():
    model = decoder(layer_norm=False)
    found = compose(model, 0, 1).scores
    OV = model.attentions[0].OV.AB[1]
    QK, values = (part.AB[0] for part in (model.attentions[1].QK, model.attentions[1].OV))
    for use, M in enumerate((QK, QK.T, values)):
        expected = (OV @ M).norm() / OV.norm() / M.norm()
        assert found[use, 1, 0].item() == pytest.approx(expected.item(), abs=1e-12)


def test_a_norms_gain_and_centring_are_in_the_score():
    model = decoder()
    gain = model.blocks[1].ln1.w
    with torch.no_grad():
        gain.copy_(torch.linspace(0.1, 3.0, len(gain)))
    centre = torch.eye(len(gain)).double() - 1 / len(gain)
    read = centre @ torch.diag(gain.double())
    OV, own = centre @ model.attentions[0].OV.AB[0], read @ model.attentions[1].OV.AB[1]
    expected = (OV @ own).norm() / OV.norm() / own.norm()
    assert compose(model, 0, 1).scores[2, 0, 1].item() == pytest.approx(expected.item(), abs=1e-10)


def test_no_gauge_changes_a_composition():
    model = decoder(n_heads=1)
    torch.testing.assert_close(compose(model, 0, 1).scores, compose(regauge(model, 3), 0, 1).scores)


def test_untrained_heads_compose_as_random_ones_do():
    cfg = RegressorConfig(n_dims=5, n_points=8, n_layers=2, n_heads=4, d_model=64, d_head=16)
    found = compose(HookedRegressor(cfg, 1).double(), 0, 1)
    inside = ((found.scores > found.chance.low) & (found.scores < found.chance.high)).double().mean()
    assert inside > 0.8


def test_the_chance_hangs_on_its_seed():
    model = decoder()
    assert compose(model, 0, 1, 0).chance == compose(model, 0, 1, 0).chance != compose(model, 0, 1, 1).chance


def circuits(model, writer, reader):
    """Those of a model that has them all."""
    found = token_circuits(model, writer, reader)
    assert found.writing is not None and found.one_back is not None
    return found.matching, found.writing, found.one_back


def copying(model, layer):
    found = copying_scores(model, layer)
    assert found is not None
    return found


@pytest.mark.parametrize("seed", range(3))
def test_induction_as_a_gradient_step_has_the_identity_in_every_circuit_in_any_gauge(seed):
    model = regauge(induction(6, 10, 0.7, dtype=torch.float64), seed)
    for cosine in circuits(model, 0, 1):
        assert cosine.abs().flatten().tolist() == pytest.approx([1.0], abs=1e-9)
    assert copying(model, 1).abs().item() == pytest.approx(1, abs=1e-6)


def test_untrained_weights_have_no_circuit_of_an_induction_head():
    cfg = RegressorConfig(n_dims=32, n_points=40, n_layers=2, n_heads=4, d_model=64, d_out=32, layout="sequence")
    model = HookedRegressor(cfg, 0).double()
    assert max(cosine.abs().max().item() for cosine in circuits(model, 0, 1)) < 0.3
    assert copying(model, 0).abs().max() < 0.7


def test_tokens_without_logits_of_their_own_or_learned_positions_have_circuits_left_out():
    cfg = changed(FAMILIES["induction"], d_out=3, positions="none")
    found = token_circuits(HookedRegressor(cfg), 0, 1)
    assert found.writing is None and found.one_back is None and found.matching.shape == (2, 2)
    assert copying_scores(HookedRegressor(cfg), 0) is None


def test_tokens_that_are_the_stream_themselves_have_the_same_circuits_as_when_read_in_by_the_identity():
    slots = changed(FAMILIES["induction"], positions="none", read_in="slots", d_model=4, d_head=2, d_out=4)
    model, read = HookedRegressor(slots, 1), HookedRegressor(changed(slots, read_in="affine"), 1)
    read.load_state_dict(model.state_dict() | {"embed.W_E": torch.eye(4), "embed.b_E": torch.zeros(4)})
    torch.testing.assert_close(token_circuits(model, 0, 1).matching, token_circuits(read, 0, 1).matching)
    torch.testing.assert_close(copying(model, 1), copying(read, 1))
