from dataclasses import replace

from mesascope.analyses.curvature.activations import XUpdate
from mesascope.analyses.curvature.claims import layer_claim
from mesascope.analyses.curvature.intervention import Ablation
from mesascope.analyses.curvature.layer import LayerCurvature
from mesascope.probes import Estimate


def near(value: float, half: float = 0.001) -> Estimate:
    return Estimate(value, value - half, value + half)


UPDATE = XUpdate(gamma=near(1.0), r2=near(0.99), shuffled=near(0.6), size=near(0.3))
ABLATION = Ablation(near(20.0), near(20.0), near(30.0), near(30.0), near(1.0))
LAYER = LayerCurvature(
    1, weights=near(1.02), update=UPDATE, untrained_gamma=(0.1, -0.2), untrained_r2=(0.1, 0.2), ablation=ABLATION
)


def with_update(**changes) -> LayerCurvature:
    return replace(LAYER, update=replace(UPDATE, **changes))


def test_three_readings_that_agree_make_gd_plus_plus():
    assert LAYER.verdict == "GD++"
    assert LAYER.doubts == ()


def test_a_layer_that_leaves_x_alone_is_called_so_whatever_the_rest():
    assert with_update(size=near(0.005)).verdict == "no curvature correction"


def test_x_that_changes_otherwise_is_not_gd_plus_plus_even_if_gamma_is_zero():
    assert with_update(r2=near(0.9)).verdict == "not GD++"
    assert with_update(r2=near(0.0), gamma=near(0.0)).verdict == "not GD++"


def test_an_r2_that_straddles_the_bound_is_undetermined():
    layer = with_update(r2=near(0.95, 0.01))
    assert layer.verdict == "undetermined"
    assert "not surely 0.95" in layer.doubts[0]


def test_an_r2_that_its_nulls_reach_is_undetermined():
    for layer in (with_update(shuffled=near(0.99)), replace(LAYER, untrained_r2=(0.1, 0.995))):
        assert layer.verdict == "undetermined"
        assert "nulls" in layer.doubts[0]


def test_two_gammas_that_are_not_surely_one_are_undetermined():
    assert replace(LAYER, weights=near(1.09)).verdict == "GD++"
    assert replace(LAYER, weights=near(1.2)).verdict == "undetermined"
    assert replace(LAYER, weights=near(-1.0)).verdict == "undetermined"
    straddling = replace(LAYER, weights=near(1.05, 0.2))
    assert straddling.verdict == "undetermined"
    assert "its weights say γ = 1.05 [0.85, 1.25], its activations 1 [" in straddling.doubts[0]


def test_weights_that_hold_no_gamma_leave_it_undetermined():
    assert replace(LAYER, weights=None).verdict == "undetermined"


def test_a_loss_that_rises_otherwise_than_predicted_is_undetermined():
    for share in (near(0.8), near(1.2), near(1.0, 0.2)):
        layer = replace(LAYER, ablation=replace(ABLATION, share=share))
        assert layer.verdict == "undetermined"
        assert "logarithmic" in layer.doubts[0]


def test_a_loss_that_does_not_change_is_no_evidence():
    layer = replace(LAYER, ablation=replace(ABLATION, typical=near(1.0, 0.01)))
    assert layer.verdict == "undetermined"
    assert "no difference" in layer.doubts[0]


def test_a_claim_holds_gamma_with_its_interval_and_the_twins_farthest_from_zero():
    claim = layer_claim(LAYER)
    assert (claim.id, claim.value, claim.ci, claim.null) == ("curvature.layer1", 1.0, UPDATE.gamma.ci, -0.2)
    assert claim.text.startswith("layer 1: GD++; it changes x by 0.3 of its norm")
    assert "weights say γ = 1.02 [1.019, 1.021]" in claim.text
    assert "loss is 20 [20, 20] times" in claim.text


def test_a_claim_in_doubt_says_why():
    assert "in doubt: its weights say" in layer_claim(replace(LAYER, weights=near(1.2))).text
    assert "in doubt" not in layer_claim(with_update(r2=near(0.5))).text


def test_a_layer_that_is_set_aside_says_why_and_has_no_number():
    claim = layer_claim(replace(LAYER, set_aside="nobody reads it"))
    assert claim.value is None
    assert claim.verdict == "nobody reads it"
    assert "no attention comes after it" in claim.text
    assert layer_claim(LayerCurvature(2, "not applicable")).verdict == "not applicable"
