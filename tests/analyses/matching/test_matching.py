"""Where the numbers of a matching come from, what it is a function of, and what is refused."""

import math
import re
from dataclasses import replace

import pytest
import torch

from mesascope.analyses import Scope, attach
from mesascope.analyses.matching import holds_constructions, match_weights
from mesascope.analyses.matching.families import FAMILIES as CONSTRUCTED
from mesascope.analyses.matching.matching import layer_operators, own_bases
from mesascope.models import (
    GradientDescent,
    HookedRegressor,
    LinearRegression,
    MesascopeError,
    gd_plus_plus,
    gradient_descent,
    newton,
    regauge,
)
from mesascope.probes import LayerOperator, TokenBasis, reachable, token_basis
from tests.models.families import FAMILIES, changed, task_of

from .whole_models import LSA, N_POINTS, D, best, matching, of_zoo, with_random_layer

W0 = torch.tensor([0.5, -1.0, 0.25, 2.0], dtype=D)


def formed(operator):
    return torch.einsum("hvd,hdw,hqe,hke->vwqk", operator.W_V, operator.W_O, operator.W_Q, operator.W_K)


def test_the_distances_of_all_layers_are_those_of_their_formed_operators():
    """Directly: (Σ ‖T_l − T_l*‖² / Σ ‖T_l‖²)^½ on the entries that can reach the output."""
    model = HookedRegressor(LSA(4, N_POINTS, 3, 2), 1).double()
    found, basis = matching(model), token_basis(model)
    assert list(found.distances) == [family.name for family in CONSTRUCTED[:4]]
    for place, name in enumerate(found.distances):
        left = total = 0.0
        for index, layer in enumerate(found.layers):
            T = formed(LayerOperator.of(model.attentions[index]).seen(reachable(basis, model, index)))
            nearest = layer.matches[place].nearest
            left += (T - torch.einsum("vw,qk->vwqk", nearest.OV, nearest.QK)).square().sum().item()
            total += T.square().sum().item()
            assert layer.norm == pytest.approx(T.norm().item(), rel=1e-9)
        assert found.distances[name] == pytest.approx((left / total) ** 0.5, rel=1e-9)


def test_layers_of_zeros_leave_the_distance_to_the_others():
    found = matching(gradient_descent(4, N_POINTS, [0.3, 0.0]))
    assert found.distances["GD"] < 1e-6
    assert matching(gradient_descent(4, N_POINTS, [0.0])).distances == {}


def test_a_family_that_some_layer_cannot_hold_has_no_distance():
    """Fitted slots have no positions, so that only the first layer could copy."""
    found = of_zoo("separate-tokens")[1]
    assert "neighbour copy" in {match.family for match in found.layers[0].matches}
    assert "neighbour copy" not in found.distances and "GD" in found.distances


def test_every_claim_has_its_number_interval_null_and_verdict():
    found = matching(with_random_layer(gradient_descent(4, N_POINTS, [0.3, 0.2]), 0))
    model, first, second = found.claims
    assert model.value == min(found.distances.values()) and model.ci is None
    assert model.null is not None and 0 < model.null <= 1
    for claim, layer in ((first, found.layers[0]), (second, found.layers[1])):
        match = best(layer)
        assert claim.value == match.distance.value and claim.null == match.null
        assert claim.ci is not None and claim.ci[0] <= match.distance.value <= claim.ci[1]
        assert f"the nearest {match.family} leaves" in claim.text
        assert f"random weights {match.random:.2g}, untrained twins {min(match.untrained):.2g}" in claim.text
    assert "η = 0.2 [0.2, 0.2], |W0| = " in second.text
    assert "η" not in first.text  # of what it is not, no scalars


def test_the_claim_of_a_layer_of_zeros_has_no_number():
    found = matching(gradient_descent(4, N_POINTS, [0.3, 0.0]))
    claim = found.claims[2]
    assert (claim.value, claim.ci, claim.null) == (None, None, None)
    assert claim.text == "Layer 2 adds nothing that reaches the output: its weights are zero."
    assert matching(gradient_descent(4, N_POINTS, [0.0])).claims[0].value is None


def test_data_hold_the_scalars_and_the_points_they_are_a_mean_over():
    data = matching(regauge(gd_plus_plus(4, N_POINTS, [0.3, 0.2], [0.1, 0.4]), 0)).data()
    assert data["n_context"] == 8 and data["seed"] == 0 and data["whole"] is None
    gdpp = data["layers"][0]["matches"][1]
    assert gdpp["family"] == "GD++"
    assert gdpp["scalars"]["η"]["value"] == pytest.approx(0.3, rel=1e-6)
    assert gdpp["scalars"]["γ"]["value"] == pytest.approx(0.1, rel=1e-6)
    assert data["distances"]["GD++"] < 1e-6


def test_scalars_are_means_over_the_context_of_the_task_that_is_looked_at():
    """Weights know η/n alone: on twice the context they take twice the step."""
    model = gradient_descent(4, N_POINTS, [0.3])
    longer = match_weights(attach(model, task=LinearRegression(n_dims=4, n_points=2 * N_POINTS - 1)))
    assert longer.n_context == 16
    assert best(longer.layers[0]).scalars["η"].value == pytest.approx(0.6, rel=1e-6)


def test_the_damping_is_part_of_the_step():
    plain = gradient_descent(4, N_POINTS, [0.3, 0.2])
    damped = HookedRegressor(changed(plain.cfg, damping=0.25))
    damped.load_state_dict(plain.state_dict())
    found = matching(damped)
    assert [best(layer).scalars["η"].value for layer in found.layers] == pytest.approx([0.075, 0.05], rel=1e-6)
    assert layer_operators(damped)[0].norm == pytest.approx(0.25 * layer_operators(plain)[0].norm, rel=1e-6)


def test_tied_layers_are_all_the_same_and_nothing_of_them_is_free():
    once = gd_plus_plus(4, N_POINTS, [0.3], [0.1])
    tied = HookedRegressor(changed(once.cfg, tied=True, n_layers=3))
    with torch.no_grad():
        for name in ("qkv_weight", "out_weight"):
            getattr(tied.attentions[0], name).copy_(getattr(once.attentions[0], name))
    found = matching(tied)
    assert found.verdict == "3 steps of GD++"
    assert [best(layer).scalars["γ"].value for layer in found.layers] == pytest.approx([0.1] * 3, rel=1e-6)


def test_layers_without_attention_are_passed_over():
    found = matching(HookedRegressor(FAMILIES["sine"]), task=task_of(FAMILIES["sine"]))
    assert [layer.label for layer in found.layers] == ["layer 2"]


def test_several_outputs_are_matched_as_one():
    """No task has several, so that the scope is made by hand."""
    model = regauge(gradient_descent(4, N_POINTS, [0.3, 0.2], d_out=2), 0)
    found = match_weights(Scope(model, LinearRegression(n_dims=4, n_points=N_POINTS), "planted"))
    assert found.verdict == "2 steps of GD"
    assert [best(layer).scalars["η"].value for layer in found.layers] == pytest.approx([0.3, 0.2], rel=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_no_gauge_changes_a_matching(seed):
    model = HookedRegressor(LSA(4, N_POINTS, 2, 2), 1).double()
    mine, gauged = matching(model), matching(regauge(model, seed))
    assert gauged.verdict == mine.verdict
    assert gauged.distances == pytest.approx(mine.distances, rel=1e-9)
    for layer, other in zip(mine.layers, gauged.layers, strict=True):
        torch.testing.assert_close(other.OV, layer.OV)
        torch.testing.assert_close(other.QK, layer.QK)


def test_a_scope_is_matched_once():
    scope = attach(gradient_descent(4, N_POINTS, [0.3]))
    found = match_weights(scope)
    assert match_weights(scope) is found and match_weights(scope, seed=0) is found
    other = match_weights(scope, seed=1)
    assert other is not found and other.seed == 1 and match_weights(scope, seed=1) is other
    mine, theirs = (best(each.layers[0]) for each in (found, other))
    assert mine.untrained != theirs.untrained and mine.random != theirs.random  # other weights of chance
    assert mine.distance == theirs.distance


def test_the_model_s_own_bases_are_the_default():
    scope = attach(gradient_descent(4, N_POINTS, [0.3, 0.2]))
    bases = own_bases(scope)
    assert bases.keys() == {0, 1}
    given = match_weights(scope, bases=bases)
    assert given is not match_weights(scope)
    assert given.data() == match_weights(scope).data()


def test_bases_may_be_given_for_tokens_that_hold_no_x_and_y():
    """Scratch tokens (x, e, y): a step on x and y, between slots of one's own, in the second layer alone."""
    cfg = FAMILIES["scratch"]
    plain = gradient_descent(3, cfg.n_points, [0.3])
    model, places = HookedRegressor(cfg, 1), [0, 1, 2, 6]
    ours, given = model.attentions[1], plain.attentions[0]
    with torch.no_grad():
        for parameter in (ours.qkv_weight, ours.out_weight):
            parameter.zero_()
        for name in ("W_Q", "W_K", "W_V"):
            getattr(ours, name)[0, places, :4] = getattr(given, name)[0]
        ours.W_O[0, :4, places] = given.W_O[0]
    slots = replace(token_basis(plain).query, directions=torch.eye(7, dtype=D)[places])
    found = match_weights(attach(model), bases={1: TokenBasis.of(slots)})
    assert [layer.label for layer in found.layers] == ["layer 2"]
    assert found.verdict == "1 step of GD" and found.layers[0].inside == pytest.approx(1)
    assert best(found.layers[0]).scalars["η"].value == pytest.approx(0.3, rel=1e-6)


def test_another_basis_gives_another_matching():
    """One coordinate less: its weights are nowhere, the step on the others is."""
    scope = attach(gradient_descent(4, N_POINTS, [0.3]))
    fewer = token_basis(scope.hooked).without(2)
    layer = match_weights(scope, bases={0: fewer}).layers[0]
    assert layer.verdict == "GD" and layer.inside == pytest.approx(0.75)
    assert best(layer).scalars["η"].value == pytest.approx(0.3, rel=1e-6)


def test_bases_that_are_gone_are_not_taken_for_later_ones():
    scope = attach(gradient_descent(4, N_POINTS, [0.3]))
    whole = token_basis(scope.hooked)
    fewer, bases = whole.without(2), {0: whole}
    first, where = match_weights(scope, bases=bases), id(bases)
    others: list[dict[int, TokenBasis]] = []
    del bases
    while id(others[-1] if others else None) != where:  # the next of as many bytes stands there, mostly
        others.append({0: fewer})
        if len(others) > 10_000:
            pytest.skip("this interpreter did not put another mapping where the first one was")
    second = match_weights(scope, bases=others[-1])
    assert second is not first
    assert second.layers[0].inside == pytest.approx(0.75)


@pytest.mark.parametrize("layers", [[], [1]])
def test_bases_for_no_layer_are_refused(layers):
    scope = attach(gradient_descent(4, N_POINTS, [0.3]))
    basis = token_basis(scope.hooked)
    said = f"bases are of the layers {layers}, but those with attention are [0]; give theirs"
    with pytest.raises(MesascopeError, match=re.escape(said)):
        match_weights(scope, bases=dict.fromkeys(layers, basis))


def test_a_bare_predictor_has_no_weights():
    with pytest.raises(MesascopeError, match="has no layers to probe: it is a predictor"):
        match_weights(attach(GradientDescent(1, 0.1)))


def test_an_lstm_has_no_attention():
    with pytest.raises(MesascopeError, match="has no attention, so no weights that could hold a construction"):
        matching(HookedRegressor(FAMILIES["lstm"]))


@pytest.mark.parametrize("name", ["induction", "scratch"])
def test_tokens_without_x_and_y_are_refused(name):
    cfg = FAMILIES[name]
    with pytest.raises(MesascopeError, match=f"tokens of this model \\({cfg.layout}, transformer\\) hold no x beside"):
        matching(HookedRegressor(cfg), task=task_of(cfg))


def test_a_read_in_that_merges_slots_is_refused():
    model = gradient_descent(4, N_POINTS, [0.3], w0=W0)
    with torch.no_grad():
        model.embed.W_E[0] = 0.0
    with pytest.raises(MesascopeError, match="rank 4 for 5 slots"):
        matching(model)


@pytest.mark.parametrize(
    ("name", "holds"),
    [
        ("lsa", True),
        ("sine", True),
        ("separate", True),
        ("decoder", True),
        ("lstm", False),
        ("induction", False),
        ("scratch", False),
    ],
)
def test_which_scopes_can_be_matched(name, holds):
    cfg = FAMILIES[name]
    scope = attach(HookedRegressor(cfg), task=task_of(cfg))
    assert holds_constructions(scope) == holds
    if not holds:
        with pytest.raises(MesascopeError):
            match_weights(scope)


def test_constructions_and_predictors_among_them():
    assert holds_constructions(attach(newton(3, 7, 1, 5e-3, "scratch")))
    assert not holds_constructions(attach(GradientDescent(1, 0.1)))


def test_the_result_says_what_it_asks():
    found = matching(gradient_descent(4, N_POINTS, [0.3]))
    assert found.name == "matching" and found.title and found.question.endswith("?")
    assert all(math.isfinite(value) for value in found.distances.values())
