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


@pytest.mark.parametrize("seed", range(3))
def test_induction_as_a_gradient_step_has_the_identity_in_every_circuit_in_any_gauge(seed):
    model = regauge(induction(6, 10, 0.7, dtype=torch.float64), seed)
    found = token_circuits(model, 0, 1)
    for cosine in (found.matching, found.writing, found.one_back):
        assert cosine.abs().flatten().tolist() == pytest.approx([1.0], abs=1e-9)
    assert copying_scores(model, 1).abs().item() == pytest.approx(1, abs=1e-6)


def test_untrained_weights_have_no_circuit_of_an_induction_head():
    cfg = RegressorConfig(n_dims=32, n_points=40, n_layers=2, n_heads=4, d_model=64, d_out=32, layout="sequence")
    model = HookedRegressor(cfg, 0).double()
    found = token_circuits(model, 0, 1)
    assert max(cosine.abs().max().item() for cosine in (found.matching, found.writing, found.one_back)) < 0.3
    assert copying_scores(model, 0).abs().max() < 0.7
