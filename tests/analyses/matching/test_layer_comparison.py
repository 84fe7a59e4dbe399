"""Planted scalars are recovered, with their intervals, and zeros are nothing."""

import json
from collections import Counter
from typing import cast

import pytest
import torch

from mesascope.analyses.claim import finite
from mesascope.analyses.matching.chance import RandomLayers
from mesascope.analyses.matching.families import COPY
from mesascope.analyses.matching.layer_comparison import inside_share, match_layer
from mesascope.analyses.matching.layer_match import NAMED
from mesascope.analyses.matching.nearest import Nearest, find_nearest
from mesascope.models import (
    HookedRegressor,
    MesascopeError,
    copy_then_descend,
    gd_plus_plus,
    gradient_descent,
    preconditioned_gradient_descent,
    regauge,
)
from mesascope.models.constructions.assembly import Head, Layer, assemble
from mesascope.models.constructions.residual_stream import ResidualStream
from mesascope.probes import LayerOperator, Slots, TokenBasis, reachable, token_basis

from .planted_layers import (
    GD,
    LSA,
    N_POINTS,
    SEEDS,
    W0,
    A,
    D,
    basis_of,
    by_name,
    formed,
    matched,
    perturbed,
    random_operator,
)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("n_layers", [1, 2])
def test_the_step_sizes_of_gradient_descent_are_recovered_from_float32_weights_in_any_gauge(n_layers, seed):
    etas = [0.3, 2.0][:n_layers]
    model = regauge(gradient_descent(4, N_POINTS, etas), seed)
    for layer, eta in enumerate(etas):
        found = matched(model, layer)
        assert found.verdict == "GD" and found.named and found.label == f"layer {layer + 1}"
        best = found.best
        assert best is not None
        # Float32 products of maps of condition ≤ 10: rounding of 6e-8, a few times over.
        assert best.scalars["η"].value == pytest.approx(eta, rel=1e-6)
        assert best.scalars["|W0|"].value < 1e-6
        assert best.distance.value < 1e-6 and found.inside == pytest.approx(1)
        assert "γ" not in best.scalars
        torch.testing.assert_close(best.preconditioner[:4, :4].float(), eta * torch.eye(4), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_curvature_corrections_are_recovered_and_that_of_the_last_layer_is_free(seed):
    model = regauge(gd_plus_plus(4, N_POINTS, [0.3, 2.0], [0.1, 0.7]), seed)
    first, last = (matched(model, layer) for layer in (0, 1))
    assert (first.verdict, last.verdict) == ("GD++", "GD")
    assert first.best is not None and last.best is not None
    assert first.best.scalars["η"].value == pytest.approx(0.3, rel=1e-6)
    assert first.best.scalars["γ"].value == pytest.approx(0.1, rel=1e-6)
    assert last.best.scalars["η"].value == pytest.approx(2.0, rel=1e-6)
    # GD is the wrong family for the first: what it leaves is γ's share of the norm.
    gd = by_name(first)["GD"]
    assert gd.distance.value == pytest.approx((4 * 0.1**2 / (0.3**2 + 4 * 0.1**2)) ** 0.5, rel=1e-5)
    assert "γ" not in by_name(last)["GD++"].scalars


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("gammas", [None, [0.1, 0.7]])
def test_the_starting_weights_are_recovered(gammas, seed):
    if gammas is None:
        plain = gradient_descent(4, N_POINTS, [0.3, 2.0], w0=W0)
    else:
        plain = gd_plus_plus(4, N_POINTS, [0.3, 2.0], gammas, w0=W0)
    model = regauge(plain, seed)
    for layer, eta in enumerate([0.3, 2.0]):
        found = matched(model, layer)
        assert found.verdict == ("GD++" if gammas and layer == 0 else "GD") and found.best is not None
        assert found.best.distance.value < 1e-6
        assert found.best.scalars["η"].value == pytest.approx(eta, rel=1e-6)
        assert found.best.scalars["|W0|"].value == pytest.approx(W0.norm().item(), rel=1e-6)
        # Each entry is η w0_i/n from x_i to y.
        n = N_POINTS - 1
        entries = [found.best.nearest.scalars[f"W0[{i},0]"] * n / eta for i in range(4)]
        torch.testing.assert_close(torch.tensor(entries, dtype=D), W0, rtol=1e-5, atol=1e-6)


def test_a_value_row_of_w0_is_that_of_a_read_in_from_w0():
    """Proposition 1's own form: V's row for y is (W0, −1), on tokens as they are."""
    h, n = ResidualStream(x=4, y=1), N_POINTS - 1
    update = (0.3 / n) * (h.copy("x", to="y", by=W0[:, None]) - h.copy("y", to="y"))
    model = assemble(LSA(4, N_POINTS, 1), [Layer([Head(h.match("x", "x"), update)])], D)
    found = matched(regauge(model, 0))
    # With a plain read-in the query is (x_q, 0), and what it predicts lacks W0·x_q.
    assert found.verdict == "GD from a start W0 that the query does not hold" and found.best is not None
    assert found.best.scalars["η"].value == pytest.approx(0.3, rel=1e-9)
    assert found.best.scalars["|W0|"].value == pytest.approx(W0.norm().item(), rel=1e-9)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_preconditioner_is_recovered(seed):
    model = regauge(preconditioned_gradient_descent(N_POINTS, [A, 3 * A.T]), seed)
    for layer, expected in enumerate((A, 3 * A.T)):
        found = matched(model, layer)
        assert found.verdict == "preconditioned GD" and found.best is not None
        assert found.best.distance.value < 1e-6
        torch.testing.assert_close(found.best.preconditioner[:4, :4], expected, rtol=1e-5, atol=1e-6)
        # η is its size against the identity's.
        size = expected.norm().item() / 2.0
        assert found.best.scalars["η"].value == pytest.approx(size, rel=1e-6)
        assert by_name(found)["GD"].distance.value > NAMED


def test_a_negative_preconditioner_is_a_negative_step():
    """Its sign is free between both products: the trace of A is kept positive."""
    found = matched(preconditioned_gradient_descent(N_POINTS, -A))
    assert found.best is not None and found.best.scalars["η"].value < 0
    torch.testing.assert_close(found.best.preconditioner[:, :4], -A, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("seed", SEEDS)
def test_preconditioned_steps_with_another_update_of_x_are_the_richest_family(seed):
    """Ahn et al.'s (2023) theorem 4: A between queries and keys, and any P from x to x."""
    h, n = ResidualStream(x=4, y=1), N_POINTS - 1
    P = torch.diag(torch.tensor([0.1, 0.9, 0.2, 0.5], dtype=D)) + 0.2 * A
    head = Head(h.match("x", "x", by=A), -(1 / n) * (h.copy("x", to="x", by=P) + h.copy("y", to="y")))
    model = assemble(LSA(4, N_POINTS, 2), [Layer([head]), Layer([head])], torch.float32)
    found = matched(regauge(model, seed), 0)
    assert found.verdict == "preconditioned GD++" and found.best is not None
    assert found.best.distance.value < 1e-6
    torch.testing.assert_close(found.best.preconditioner[:4, :4], A, rtol=1e-5, atol=1e-6)
    # A unit of η writes −1/n of y to y, so that P stands beside it in the same units.
    nearest = found.best.nearest
    torch.testing.assert_close(nearest.OV[:4, :4] / nearest.OV[4, 4], P, rtol=1e-5, atol=1e-5)
    assert min(by_name(found)[name].distance.value for name in ("GD", "GD++", "preconditioned GD")) > NAMED


@pytest.mark.parametrize("seed", SEEDS)
def test_several_outputs_have_one_step_size_and_a_starting_row_each(seed):
    w0 = torch.stack([W0, -2 * W0.flip(0)])
    model = regauge(gradient_descent(4, N_POINTS, [0.3, 2.0], w0=w0, d_out=2), seed)
    for layer, eta in enumerate([0.3, 2.0]):
        found = matched(model, layer)
        assert found.verdict == "GD" and found.best is not None
        assert found.best.scalars["η"].value == pytest.approx(eta, rel=1e-6)
        assert found.best.scalars["|W0|"].value == pytest.approx(w0.norm().item(), rel=1e-6)


@pytest.mark.parametrize("n_heads", [2, 5])
def test_a_step_shared_by_many_heads_is_one_step(n_heads):
    """Each head asks for a part of x, as softmax-trained heads or those of rank one would."""
    h, n = ResidualStream(x=5, y=1), N_POINTS - 1
    parts = torch.eye(5, dtype=D).split(5 // n_heads + (5 % n_heads > 0))
    update = -(0.3 / n) * h.copy("y", to="y")
    heads = [Head(h.match("x", "x", by=part.T @ part), update) for part in parts]
    model = assemble(LSA(5, N_POINTS, 1, n_heads=len(heads)), [Layer(heads)], torch.float32)
    found = matched(regauge(model, 0))
    assert found.verdict == "GD" and found.best is not None
    assert found.best.scalars["η"].value == pytest.approx(0.3, rel=1e-6)
    # Seen through the other product, all heads together are the identity on x.
    torch.testing.assert_close(found.QK[:, :5].float(), torch.eye(5), rtol=1e-5, atol=1e-6)


def test_the_layer_s_own_products_are_those_of_the_nearest_where_it_is_one():
    found = matched(regauge(gd_plus_plus(4, N_POINTS, [0.3, 2.0], [0.1, 0.7], dtype=D), 0), 0)
    assert found.best is not None
    torch.testing.assert_close(found.OV, found.best.nearest.OV)
    torch.testing.assert_close(found.QK, found.best.nearest.QK)


def test_rank_deficient_heads_are_no_trouble():
    """A preconditioner of rank 2, and steps on two coordinates only."""
    left = torch.randn(4, 2, dtype=D, generator=torch.Generator().manual_seed(0))
    for preconditioner in (left @ left.T, torch.diag(torch.tensor([1.0, 1.0, 0.0, 0.0]))):
        found = matched(regauge(preconditioned_gradient_descent(N_POINTS, preconditioner), 0))
        assert found.verdict == "preconditioned GD" and found.best is not None
        torch.testing.assert_close(found.best.preconditioner[:, :4], preconditioner.double(), rtol=1e-5, atol=1e-6)


def test_a_preconditioner_on_one_coordinate_is_recovered():
    """Without that coordinate nothing is left of the layer."""
    one = torch.zeros(4, 4, dtype=D)
    one[0, 0] = 1.0
    found = matched(preconditioned_gradient_descent(N_POINTS, one))
    assert found.verdict == "preconditioned GD" and found.best is not None
    torch.testing.assert_close(found.best.preconditioner[:, :4], one)


def test_the_copy_layer_of_separate_tokens_is_one():
    model = regauge(copy_then_descend(4, N_POINTS, 0.6), 0)
    copy, step = (matched(model, layer) for layer in (0, 1))
    assert copy.verdict == COPY and copy.best is not None
    assert copy.best.distance.value < 1e-6 and copy.best.distance.low == copy.best.distance.high
    assert "η" not in copy.best.scalars
    torch.testing.assert_close(copy.best.preconditioner, copy.best.nearest.QK)  # there is no η to scale it by
    assert step.verdict == "GD" and step.best is not None
    assert step.best.scalars["η"].value == pytest.approx(0.6, rel=1e-6)


def test_a_layer_is_what_it_is_times_the_damping():
    plain = gradient_descent(4, N_POINTS, [0.3])
    damped = HookedRegressor(plain.cfg.model_copy(update={"damping": 0.25}))
    damped.load_state_dict(plain.state_dict())
    found = matched(damped)
    assert found.best is not None and found.best.scalars["η"].value == pytest.approx(0.3 * 0.25, rel=1e-6)


def test_without_a_sum_over_the_points_there_are_no_scalars():
    model = gradient_descent(4, N_POINTS, [0.3])
    basis = reachable(token_basis(model), model, 0)
    operator = LayerOperator.of(model.attentions[0])
    found = match_layer("layer 1", operator, basis, 1.0, [], RandomLayers(0), None)
    assert found.best is not None and found.best.scalars == {} and found.verdict == "GD"
    torch.testing.assert_close(found.best.preconditioner, found.best.nearest.QK)


def test_an_exact_construction_s_intervals_have_no_width():
    found = matched(gd_plus_plus(4, N_POINTS, [0.3, 2.0], [0.1, 0.7], w0=W0, dtype=D), 0)
    assert found.best is not None
    for name in ("η", "γ"):
        estimate = found.best.scalars[name]
        assert estimate.high - estimate.low == pytest.approx(0, abs=1e-9)
    # Without a coordinate of x, w0 lacks one of its own: its length has an interval.
    assert found.best.scalars["|W0|"].high - found.best.scalars["|W0|"].low > 0.1


@pytest.mark.parametrize("eps", [0.01, 0.05])
def test_a_perturbed_layer_s_intervals_have_a_width_and_hold_the_planted_step(eps):
    held: Counter[bool] = Counter()
    for seed in range(10):
        found = matched(perturbed(eps, seed=seed))
        gd = by_name(found)["GD"]
        assert 0 < gd.scalars["η"].high - gd.scalars["η"].low < 20 * eps
        assert gd.distance.high > gd.distance.low
        held[gd.scalars["η"].low <= 0.3 <= gd.scalars["η"].high] += 1
    assert held[True] >= 8  # of ten 95% intervals


def test_with_fewer_than_three_coordinates_there_is_no_interval():
    for n_dims in (1, 2):
        found = matched(perturbed(0.05, n_dims=n_dims))
        assert all(match.distance.low == match.distance.high for match in found.matches)
    assert by_name(matched(perturbed(0.05, n_dims=3)))["GD"].distance.high > 0


def test_the_interval_is_the_jackknife_over_coordinates_written_out():
    model, n = perturbed(0.05, n_dims=3), 3
    basis = reachable(token_basis(model), model, 0)
    operator = LayerOperator.of(model.attentions[0])
    values = []
    for index in range(n):
        fewer = basis.without(index)
        values.append((N_POINTS - 1) * cast(Nearest, find_nearest(operator.seen(fewer), GD, fewer)).scalars["η"])
    left_out = torch.tensor(values)
    error = ((n - 1) / n * (left_out - left_out.mean()).square().sum()).sqrt()
    estimate = by_name(matched(model))["GD"].scalars["η"]
    assert estimate.high - estimate.value == pytest.approx(4.3027 * error.item(), rel=1e-4)  # Student's t, 2 df


def test_a_layer_of_zeros_is_nothing():
    model = gradient_descent(4, N_POINTS, [0.0])
    basis = token_basis(model)
    operator = LayerOperator.of(model.attentions[0])
    found = match_layer("layer 1", operator, basis, 0.0, [], RandomLayers(0), 8)
    assert found.verdict == "nothing: its weights are zero"
    assert found.best is None and not found.named and found.matches == () and found.norm == 0
    assert json.dumps(finite(found.data()))


def test_a_layer_that_writes_where_nobody_reads_is_nothing_too():
    """The last layer of GD++ without its step: x alone is changed."""
    model = gd_plus_plus(4, N_POINTS, [0.0], [0.5])
    found = matched(model)
    assert found.best is None and found.norm == 0


def test_the_share_inside_the_slots_of_a_layer_of_zeros_is_none():
    model = gradient_descent(4, N_POINTS, [0.0])
    assert inside_share(LayerOperator.of(model.attentions[0]), token_basis(model)) == 0


def test_weights_that_are_no_numbers_are_not_called_zero():
    model = gradient_descent(4, N_POINTS, [0.3])
    with torch.no_grad():
        model.attentions[0].qkv_weight.fill_(torch.nan)
    with pytest.raises(MesascopeError, match="holds NaN or infinite weights; attach a sound checkpoint"):
        matched(model)


@pytest.mark.parametrize("stretch", [1.0, 7.0])
def test_the_share_inside_is_of_the_squared_norm_between_the_slots_subspaces(stretch):
    """Two slots in a stream of three: whatever their length or angle, only the plane that they span counts."""
    operator = random_operator(basis_of(2))
    directions = torch.tensor([[1.0, 0.0, 0.0], [0.6, 0.8 * stretch, 0.0]], dtype=D)
    slots = Slots((("x", 0), ("y", 0)), directions)
    T = formed(operator)
    expected = T[:2, :2, :2, :2].square().sum() / T.square().sum()
    assert inside_share(operator, TokenBasis.of(slots)) == pytest.approx(expected.item(), rel=1e-9)


def test_all_of_a_layer_is_inside_slots_that_span_the_stream():
    model = HookedRegressor(LSA(3, 6, 2), 1)
    assert inside_share(LayerOperator.of(model.attentions[0]), token_basis(model)) == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("factor, verdict", [(1.0, "GD"), (3.0, "GD"), (-1.0, "GD with η < 0")])
def test_scale_and_sign_of_a_learned_read_out_are_those_of_the_step(factor, verdict):
    cfg = LSA(5, N_POINTS, 1).model_copy(update={"read_in": "affine", "read_out": "affine"})
    plain, model = gradient_descent(5, N_POINTS, [0.5]), HookedRegressor(cfg)
    weights = dict(model.named_parameters())
    with torch.no_grad():
        weights["embed.W_E"].copy_(torch.eye(6))
        for name in ("W_Q", "W_K", "W_V", "W_O"):
            getattr(model.attentions[0], name).copy_(getattr(plain.attentions[0], name))
        weights["unembed.W_U"].copy_(-factor * torch.eye(6)[:, -1:])
    found = matched(model)
    assert found.verdict == verdict and found.best is not None
    assert found.best.scalars["η"].value == pytest.approx(0.5 * factor, rel=1e-6)
