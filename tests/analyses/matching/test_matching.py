"""Whole models: what is said of all layers together, where the numbers come from, and what is refused."""

import json
import math
from dataclasses import replace
from functools import cache
from typing import Any, cast

import numpy as np
import pytest
import torch

from mesascope.analyses import Scope, attach
from mesascope.analyses.matching import Matching, holds_constructions, match_weights
from mesascope.analyses.matching.families import FAMILIES as CONSTRUCTED
from mesascope.analyses.matching.layer_match import NOTHING, LayerMatch
from mesascope.analyses.matching.matching import layer_operators, own_bases
from mesascope.models import (
    GradientDescent,
    HookedRegressor,
    LinearRegression,
    MesascopeError,
    RegressorConfig,
    copy_then_descend,
    gd_plus_plus,
    gradient_descent,
    newton,
    optimal_preconditioner,
    preconditioned_gradient_descent,
    regauge,
)
from mesascope.models.constructions.assembly import Head, Layer, assemble
from mesascope.models.constructions.residual_stream import ResidualStream
from mesascope.models.optima import optimal_step
from mesascope.probes import LayerOperator, TokenBasis, reachable, token_basis
from tests.models.families import FAMILIES, changed, task_of

D = torch.float64
LSA = RegressorConfig.linear_self_attention
N_POINTS = 9
A = torch.diag(torch.tensor([0.2, 0.5, 1.0, 2.0], dtype=D))
W0 = torch.tensor([0.5, -1.0, 0.25, 2.0], dtype=D)


def matching(model, **fields):
    return match_weights(attach(model, **fields))


@cache
def of_zoo(name):
    scope = attach(f"zoo:{name}")
    return scope, match_weights(scope)


def best(layer):
    assert layer.best is not None
    return layer.best


def formed(operator):
    return torch.einsum("hvd,hdw,hqe,hke->vwqk", operator.W_V, operator.W_O, operator.W_Q, operator.W_K)


def stacked(*heads, dtype=torch.float32):
    """A layer of each head, in linear self-attention."""
    return assemble(LSA(4, N_POINTS, len(heads), 1), [Layer([head]) for head in heads], dtype)


def step(by=None, gamma=0.0, eta=0.5):
    """The head of one (preconditioned) gradient step, with a curvature correction."""
    h, n = ResidualStream(x=4, y=1), N_POINTS - 1
    return Head(h.match("x", "x", by=by), -(eta / n) * h.copy("y", to="y") - (gamma / n) * h.copy("x", to="x"))


def with_random_layer(model, layer, seed=0):
    other = HookedRegressor(model.cfg).to(next(model.parameters()).dtype)
    other.load_state_dict(model.state_dict())
    random = HookedRegressor(model.cfg, seed).attentions[layer]
    with torch.no_grad():
        other.attentions[layer].qkv_weight.copy_(random.qkv_weight)
        other.attentions[layer].out_weight.copy_(random.out_weight)
    return other


# --- verdicts ---

VERDICTS = {
    "1 step of GD": lambda: gradient_descent(4, N_POINTS, [0.3]),
    "3 steps of GD": lambda: gradient_descent(4, N_POINTS, [0.3, 0.2, 1.0]),
    "2 steps of GD": lambda: gradient_descent(4, N_POINTS, [0.3, 0.2], w0=W0),
    "2 steps of GD++": lambda: gd_plus_plus(4, N_POINTS, [0.3, 0.2], [0.1, 0.4]),
    "3 steps of GD++": lambda: stacked(step(), step(gamma=0.3), step()),
    "2 steps of preconditioned GD": lambda: preconditioned_gradient_descent(N_POINTS, [A, 2 * A]),
    "3 steps of preconditioned GD": lambda: stacked(step(), step(by=A), step()),
    "2 steps of preconditioned GD++": lambda: stacked(step(by=A, gamma=0.3), step(by=A)),
    "3 steps of preconditioned GD++": lambda: stacked(step(gamma=0.3), step(by=A), step()),
    "GD, then nothing: its weights are zero": lambda: gradient_descent(4, N_POINTS, [0.3, 0.0]),
    "nothing: its weights are zero (2 layers)": lambda: gradient_descent(4, N_POINTS, [0.0, 0.0]),
    f"GD (2 layers), then {NOTHING}": lambda: with_random_layer(gradient_descent(4, N_POINTS, [0.3, 0.2, 0.4]), 2),
    f"{NOTHING}, then GD": lambda: with_random_layer(gradient_descent(4, N_POINTS, [0.3, 0.2]), 0),
    f"{NOTHING} (2 layers)": lambda: HookedRegressor(LSA(4, N_POINTS, 2), 3),
    "GD, as untrained": lambda: HookedRegressor(changed(LSA(4, N_POINTS, 1), attention="gradient_step")),
}


@pytest.mark.parametrize("verdict", VERDICTS)
def test_the_verdict_says_what_all_layers_hold(verdict):
    found = matching(VERDICTS[verdict]())
    assert found.verdict == verdict
    model, *layers = found.claims
    assert (
        model.id == "matching.model" and model.verdict == verdict and model.text.startswith(f"The weights: {verdict}")
    )
    assert found.headlines == (model,)
    assert [claim.id for claim in layers] == [f"matching.layer {n + 1}" for n in range(len(found.layers))]
    assert [claim.verdict for claim in layers] == [layer.verdict for layer in found.layers]
    assert len({claim.id for claim in found.claims}) == len(found.claims)
    data = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert data["data"]["verdict"] == verdict and len(data["data"]["layers"]) == len(found.layers)


def wider(model, d_head):
    """The same heads in a width that no construction has."""
    other = HookedRegressor(changed(model.cfg, d_head=d_head))
    scale = (d_head / model.cfg.d_head) ** 0.25  # softmax attention divides by √d_head
    with torch.no_grad():
        for ours, given in zip(other.attentions, model.attentions, strict=True):
            for name in ("W_Q", "W_K", "W_V", "W_O"):
                getattr(ours, name).zero_()
            width = given.d_head
            ours.W_Q[..., :width], ours.W_K[..., :width] = given.W_Q * scale, given.W_K * scale
            ours.W_V[..., :width], ours.W_O[:, :width] = given.W_V, given.W_O
    return other


def test_a_copy_and_then_a_step_are_named_layer_by_layer_too():
    """Where no construction has the architecture, so that nothing is matched whole."""
    found = matching(wider(copy_then_descend(4, N_POINTS, 0.6), 24))
    assert found.whole is None and found.family == "GD"
    assert found.verdict == "neighbour copy, then 1 step of GD"
    assert [layer.verdict for layer in found.layers] == ["neighbour copy", "GD"]
    assert "|W0|" not in found.claims[2].text  # attention of two kinds: no scale
    assert found.claims[0].text.startswith("The weights: neighbour copy, then 1 step of GD; over all layers, GD leaves")


def test_the_same_weights_in_the_construction_s_own_width_are_named_whole():
    found = matching(regauge(copy_then_descend(4, N_POINTS, 0.6), 0))
    assert found.whole is not None and found.whole.named
    assert found.verdict == "neighbour copy, then 1 step of GD"
    claim = found.claims[0]
    assert "neighbour copy, then 1 step of GD with η = 0.6 leaves" in claim.text
    assert claim.value == found.whole.distance < 1e-5 and claim.null == found.whole.null > 0.5 and claim.ci is None


def stand_in(*verdicts):
    """A matching of layers whose verdicts are given."""
    known = best(matching(gradient_descent(4, N_POINTS, [0.3])).layers[0])
    zeros = torch.zeros(0, 0)
    layers = []
    for index, verdict in enumerate(verdicts):
        matches = (replace(known, family=verdict),) if verdict != NOTHING else ()
        layers.append(LayerMatch(f"layer {index + 1}", 1.0, 1.0, matches, zeros, zeros))
    found = Matching(tuple(layers), None, 8, 0)
    assert all(a.verdict == b or b == NOTHING for a, b in zip(found.layers, verdicts, strict=True))
    return found


@pytest.mark.parametrize(
    ("layers", "verdict"),
    [
        (["neighbour copy", "GD"], "neighbour copy, then 1 step of GD"),
        (["neighbour copy", "GD++", "GD"], "neighbour copy, then 2 steps of GD++"),
        (["GD++", "preconditioned GD"], "2 steps of preconditioned GD++"),
        (["preconditioned GD", "GD"], "2 steps of preconditioned GD"),
        (["neighbour copy", "neighbour copy"], "neighbour copy (2 layers)"),
        (["neighbour copy"], "neighbour copy"),
    ],
)
def test_layers_that_copy_come_before_the_steps(layers, verdict):
    assert stand_in(*layers).verdict == verdict


# --- numbers ---


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


# --- bundled models ---


def test_the_bundled_single_layer_is_the_best_single_step():
    scope, found = of_zoo("lsa-1")
    assert found.verdict == "1 step of GD"
    eta = best(found.layers[0]).scalars["η"]
    assert eta.value == pytest.approx(optimal_step(cast(LinearRegression, scope.task)).eta, rel=0.01)
    assert eta.low < eta.value < eta.high


def test_the_bundled_two_layers_are_gd_plus_plus_with_its_published_scalars():
    found = of_zoo("lsa-2")[1]
    assert found.verdict == "2 steps of GD++"
    first, last = (best(layer) for layer in found.layers)
    assert 0.98 * 1.361 < first.scalars["γ"].value < 1.02 * 1.371
    assert first.scalars["η"].value == pytest.approx(1.45, rel=0.02)
    assert last.scalars["η"].value == pytest.approx(11.56, rel=0.02)
    assert last.family == "GD" and "γ" not in last.scalars  # which nobody reads


@pytest.mark.parametrize("name", ["lsa-2-tied", "lsa-4-tied"])
def test_the_bundled_tied_layers_are_gd_plus_plus(name):
    found = of_zoo(name)[1]
    assert found.verdict == f"{len(found.layers)} steps of GD++"


def test_the_bundled_preconditioned_layer_is_the_optimum_of_the_closed_form():
    scope, found = of_zoo("preconditioned")
    assert found.verdict == "1 step of preconditioned GD"
    learned = best(found.layers[0]).preconditioner[:, :5]
    expected = optimal_preconditioner(cast(LinearRegression, scope.task))
    cosine = (learned * expected).sum() / (learned.norm() * expected.norm())
    assert cosine >= 0.999
    eye = torch.eye(5, dtype=D)
    assert (eye * expected).sum() / (eye.norm() * expected.norm()) < 0.95  # a plain step is no answer
    # And its size, which the cosine does not see.
    assert (learned.norm() / expected.norm()).item() == pytest.approx(1, rel=0.02)


def test_softmax_heads_are_a_step_without_scalars():
    found = of_zoo("softmax-heads")[1]
    assert found.verdict == "1 step of GD" and found.n_context is None
    assert best(found.layers[0]).scalars == {} and "η" not in found.claims[1].text


def test_the_second_layer_on_separate_tokens_is_a_gradient_step():
    found = of_zoo("separate-tokens")[1]
    assert found.layers[1].verdict == "GD" and found.layers[1].inside < 0.99
    assert f"where {found.layers[1].inside:.2f} of the layer's squared norm lies between slots" in found.claims[2].text


def test_an_untrained_twin_of_each_is_nothing():
    for name in ("lsa-1", "lsa-2-tied", "preconditioned", "softmax-heads"):
        found = match_weights(attach(f"zoo:{name}@untrained-7"))
        assert found.family is None and {layer.named for layer in found.layers} == {False}, name


def test_an_untrained_decoder_is_nothing():
    cfg = FAMILIES["decoder"]
    found = matching(HookedRegressor(cfg, 1), task=LinearRegression(n_dims=3, n_points=6))
    assert found.verdict == f"{NOTHING} (2 layers)" and found.n_context is None


# --- memory, seeds and bases ---


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


def test_bases_for_no_layer_are_refused():
    scope = attach(gradient_descent(4, N_POINTS, [0.3]))
    try:
        assert match_weights(scope, bases={}).verdict
    except MesascopeError:
        return


# --- imported matrices ---


@pytest.mark.parametrize("seed", range(2))
def test_imported_factors_give_their_scalars(tmp_path, seed):
    model = regauge(gd_plus_plus(4, N_POINTS, [0.3, 0.2], [0.1, 0.4]), seed)
    arrays: dict[str, Any] = {
        name: torch.stack([getattr(attention, at) for attention in model.attentions]).detach().numpy()
        for name, at in (("W_Q", "W_Q"), ("W_K", "W_K"), ("W_V", "W_V"), ("P", "W_O"))
    }
    np.savez(tmp_path / "weights.npz", convention="rows", n_points=N_POINTS, **arrays)
    found = match_weights(attach(tmp_path / "weights.npz"))
    assert found.verdict == "2 steps of GD++"
    first, last = (best(layer) for layer in found.layers)
    assert first.scalars["η"].value == pytest.approx(0.3, rel=1e-6)
    assert first.scalars["γ"].value == pytest.approx(0.1, rel=1e-6)
    assert last.scalars["η"].value == pytest.approx(0.2, rel=1e-6)


def test_imported_products_on_columns_give_their_preconditioner(tmp_path):
    n, KQ, PV = N_POINTS - 1, np.zeros((5, 5)), np.zeros((5, 5))
    B = np.array([[0.5, 0.1, 0, 0], [0, 0.3, 0, 0.2], [0, 0, 0.4, 0], [0.1, 0, 0, 0.2]])
    KQ[:4, :4], PV[4, 4] = B, -1 / n  # h_jᵀ W_KQ h: key before query
    np.savez(tmp_path / "weights.npz", W_KQ=KQ, W_PV=PV, n_points=N_POINTS, damping=0.5)
    found = match_weights(attach(tmp_path / "weights.npz"))
    assert found.verdict == "1 step of preconditioned GD"
    expected = torch.from_numpy(0.5 * B.T)  # a query's row times A against a key's
    torch.testing.assert_close(best(found.layers[0]).preconditioner[:, :4], expected, rtol=1e-5, atol=1e-6)


def test_imported_matrices_of_ahn_et_al_give_their_step(tmp_path):
    """Their P stands beside y's 1, and N divides: one step of η = 1 with A = −Q and x-updates −P."""
    allparam = np.zeros((2, 1, 2, 4, 4))
    allparam[:, 0, 1] = -0.7 * np.eye(4)
    allparam[0, 0, 0] = 0.2 * np.eye(4)
    np.savez(tmp_path / "weights.npz", allparam=allparam, n_points=N_POINTS)
    found = match_weights(attach(tmp_path / "weights.npz"))
    assert found.verdict == "2 steps of GD++"
    first = best(found.layers[0])
    assert first.scalars["η"].value == pytest.approx(0.7, rel=1e-6)
    assert first.scalars["γ"].value == pytest.approx(0.2 * 0.7, rel=1e-6)


# --- what is refused ---


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
