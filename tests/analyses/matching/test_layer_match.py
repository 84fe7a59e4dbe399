"""One layer against every family: by brute force, from planted scalars, and where there is nothing to find."""

import json
from collections import Counter
from dataclasses import replace
from typing import cast

import pytest
import torch

from mesascope.analyses.claim import finite
from mesascope.analyses.matching.families import COPY, FAMILIES
from mesascope.analyses.matching.layer_match import (
    MANY,
    NAMED,
    NOTHING,
    FamilyMatch,
    LayerMatch,
    Nearest,
    RandomLayers,
    find_nearest,
    inside_share,
    match_layer,
)
from mesascope.models import (
    HookedRegressor,
    MesascopeError,
    RegressorConfig,
    copy_then_descend,
    gd_plus_plus,
    gradient_descent,
    preconditioned_gradient_descent,
    regauge,
)
from mesascope.models.attention import Attention
from mesascope.models.constructions.assembly import Head, Layer, assemble
from mesascope.models.constructions.residual_stream import ResidualStream
from mesascope.probes import Estimate, LayerOperator, Slots, TokenBasis, reachable, token_basis

D = torch.float64
LSA = RegressorConfig.linear_self_attention
BY_NAME = {family.name: family for family in FAMILIES}
GD, GDPP, PGD, PGDPP, COPIES = FAMILIES
N_POINTS = 9
W0 = torch.tensor([0.5, -1.0, 0.25, 2.0], dtype=D)
A = torch.tensor([[0.5, 0.1, 0, 0], [0, 0.3, 0, 0.2], [0, 0, 0.4, 0], [0.1, 0, 0, 0.2]], dtype=D)
LINEAR_IN_THEIR_SCALARS = (GD, GDPP)


def formed(operator):
    """T itself, [value, write, query, key]."""
    return torch.einsum("hvd,hdw,hqe,hke->vwqk", operator.W_V, operator.W_O, operator.W_Q, operator.W_K)


def basis_of(n_x=3, n_y=1, n_positions=0):
    kinds = (("x", n_x), ("y", n_y), ("position", n_positions))
    names = tuple((kind, index) for kind, n in kinds for index in range(n))
    return TokenBasis.of(Slots(names, torch.eye(len(names), dtype=D)))


def random_operator(basis, n_heads=2, d_head=4, seed=0):
    rng = torch.Generator().manual_seed(seed)
    sides = (basis.query, basis.key, basis.value)
    Q, K, V = (torch.randn(n_heads, len(side.names), d_head, dtype=D, generator=rng) for side in sides)
    return LayerOperator(Q, K, V, torch.randn(n_heads, d_head, len(basis.write.names), dtype=D, generator=rng))


CHANCE = RandomLayers(0)
"""For all tests, since it remembers what it has drawn."""


def matched(model, layer=-1, n_twins=2, chance=CHANCE):
    """One layer of a model as `match_weights` holds it."""
    layers = [index for index, block in enumerate(model.blocks) if block.attn is not None]
    index, basis = layers[layer], token_basis(model)
    operators = [
        LayerOperator.of(cast(Attention, each.blocks[index].attn), each.cfg.damping)
        for each in (model, *(model.untrained_twin(1000 + seed) for seed in range(n_twins)))
    ]
    return match_layer(
        f"layer {index + 1}",
        operators[0],
        reachable(basis, model, index),
        inside_share(operators[0], basis),
        operators[1:],
        chance,
        model.cfg.n_points - 1,
        model.cfg.read_in == "affine",
    )


def by_name(match):
    return {found.family: found for found in match.matches}


# --- the nearest member of a family ---


@pytest.mark.parametrize("family", LINEAR_IN_THEIR_SCALARS, ids=lambda family: family.name)
@pytest.mark.parametrize("n_y", [1, 2])
@pytest.mark.parametrize("seed", range(3))
def test_with_one_matrix_of_scores_the_nearest_is_that_of_least_squares_over_the_scalars(family, n_y, seed):
    """Written out by hand: columns y→y, x_a→y_b (and x→x), each times the identity between queries and keys."""
    basis = basis_of(n_y=n_y)
    operator = random_operator(basis, seed=seed)
    n = 3 + n_y
    scores = torch.zeros(n, n, dtype=D)
    scores[range(3), range(3)] = 1
    columns = {"η": torch.zeros(n, n, dtype=D)}
    columns["η"][range(3, n), range(3, n)] = -1
    for a in range(3):
        for b in range(n_y):
            columns[f"W0[{a},{b}]"] = torch.zeros(n, n, dtype=D)
            columns[f"W0[{a},{b}]"][a, 3 + b] = 1
    if family is GDPP:
        columns["γ"] = torch.zeros(n, n, dtype=D)
        columns["γ"][range(3), range(3)] = -1
    design = torch.stack([torch.einsum("vw,qk->vwqk", OV, scores).flatten() for OV in columns.values()], dim=1)
    T = formed(operator).flatten()
    solved = torch.linalg.lstsq(design, T[:, None]).solution[:, 0]
    found = find_nearest(operator, family, basis)
    assert found is not None
    assert found.scalars == pytest.approx(dict(zip(columns, solved.tolist(), strict=True)), rel=1e-9, abs=1e-12)
    assert found.distance == pytest.approx(((T - design @ solved).norm() / T.norm()).item(), rel=1e-9)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
@pytest.mark.parametrize("n_x", [3, 7])  # with 49 pairs of coordinates singular vectors come from another solver
@pytest.mark.parametrize("seed", range(2))
def test_the_distance_is_that_of_the_member_it_names(family, n_x, seed):
    basis = basis_of(n_x=n_x, n_positions=7)
    operator = random_operator(basis, seed=seed)
    found = find_nearest(operator, family, basis)
    assert found is not None
    T = formed(operator)
    left = T - torch.einsum("vw,qk->vwqk", found.OV, found.QK)
    assert found.distance == pytest.approx((left.norm() / T.norm()).item(), rel=1e-9)
    assert 0 <= found.distance <= 1


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
@pytest.mark.parametrize("n_x", [3, 7])
def test_no_member_is_nearer_than_the_nearest(family, n_x):
    """200 random members at their best scale, 100 of them close to the one that was found."""
    basis = basis_of(n_x=n_x, n_positions=4)
    operator = random_operator(basis, seed=n_x)
    found = find_nearest(operator, family, basis)
    assert found is not None
    values, scores = family.values(basis).matrices, family.scores(basis).matrices
    rng = torch.Generator().manual_seed(0)
    along, across = (torch.randn(200, len(each), dtype=D, generator=rng) for each in (values, scores))
    mine = torch.einsum("aij,ij->a", values, found.OV), torch.einsum("bij,ij->b", scores, found.QK)
    for drawn, own in zip((along, across), mine, strict=True):
        drawn[100:] = 0.05 * drawn[100:] / drawn[100:].norm(dim=1, keepdim=True) + own / own.norm()
    products = operator.against(values, scores)
    scale = torch.einsum("na,ab,nb->n", along, products, across) / (along.norm(dim=1) * across.norm(dim=1))
    distances = (1 - (scale / operator.norm).square()).sqrt()
    assert (distances >= found.distance - 1e-12).all()
    assert distances[100:].min() < found.distance + 0.05  # they are close indeed


@pytest.mark.parametrize("family", [PGD, PGDPP], ids=lambda family: family.name)
def test_alternating_least_squares_from_many_starts_ends_there_too(family):
    """An independent solver of the same problem, with local optima: its best is the singular vector."""
    basis = basis_of()
    operator = random_operator(basis, n_heads=3, seed=2)
    T = formed(operator)
    values, scores = family.values(basis).matrices, family.scores(basis).matrices
    rng, best = torch.Generator().manual_seed(0), 1.0
    for _ in range(10):
        right = torch.randn(len(scores), dtype=D, generator=rng)
        for _ in range(200):
            QK = torch.einsum("b,bij->ij", right, scores)
            design = torch.stack([torch.einsum("vw,qk->vwqk", OV, QK).flatten() for OV in values], 1)
            left = torch.linalg.lstsq(design, T.flatten()[:, None]).solution[:, 0]
            OV = torch.einsum("a,aij->ij", left, values)
            design = torch.stack([torch.einsum("vw,qk->vwqk", OV, QK).flatten() for QK in scores], 1)
            right = torch.linalg.lstsq(design, T.flatten()[:, None]).solution[:, 0]
        best = min(best, ((T.flatten() - design @ right).norm() / T.norm()).item())
    found = find_nearest(operator, family, basis)
    assert found is not None and found.distance == pytest.approx(best, abs=1e-9)


def test_richer_families_are_never_farther():
    basis = basis_of()
    for seed in range(20):
        operator = random_operator(basis, seed=seed)
        found = {f.name: cast(Nearest, find_nearest(operator, f, basis)).distance for f in FAMILIES[:4]}
        for family in FAMILIES[:4]:
            assert all(found[family.name] <= found[simpler] + 1e-12 for simpler in family.simpler)


def test_no_scale_of_the_layer_changes_its_distance():
    basis, operator = basis_of(), random_operator(basis_of())
    for family in FAMILIES[:4]:
        one, other = (
            cast(Nearest, find_nearest(replace(operator, W_O=c * operator.W_O), family, basis)) for c in (1, -1e6)
        )
        assert one.distance == pytest.approx(other.distance, rel=1e-9)
        assert other.scalars["η"] == pytest.approx(-1e6 * one.scalars["η"], rel=1e-9)


def test_a_rotation_of_x_changes_no_distance():
    """x → x R on both sides is no gauge, but every family but W0's names is blind to it."""
    basis, operator = basis_of(), random_operator(basis_of())
    R = torch.linalg.qr(torch.randn(3, 3, dtype=D, generator=torch.Generator().manual_seed(0)))[0]
    R = torch.block_diag(R, torch.ones(1, 1, dtype=D))
    turned = LayerOperator(R @ operator.W_Q, R @ operator.W_K, R @ operator.W_V, operator.W_O @ R.T)
    for family in FAMILIES[:4]:
        one, other = (cast(Nearest, find_nearest(each, family, basis)) for each in (operator, turned))
        assert one.distance == pytest.approx(other.distance, rel=1e-9)
        assert abs(one.scalars["η"]) == pytest.approx(abs(other.scalars["η"]), rel=1e-9)
        assert one.from_x == pytest.approx(other.from_x, rel=1e-9)


@pytest.mark.parametrize("n_x", [3, 7])
def test_the_nearest_member_s_scores_have_the_size_of_the_identity_and_no_negative_trace(n_x):
    basis = basis_of(n_x=n_x)
    for seed in range(5):
        operator = random_operator(basis, seed=seed)
        for family in FAMILIES[:4]:
            found = cast(Nearest, find_nearest(operator, family, basis))
            assert found.QK.norm().item() == pytest.approx(n_x**0.5, rel=1e-9)
            assert found.QK.diagonal().sum() >= -1e-12
    gd = cast(Nearest, find_nearest(random_operator(basis), GD, basis))
    torch.testing.assert_close(gd.QK[:n_x, :n_x], torch.eye(n_x, dtype=D))


def test_a_family_without_slots_has_no_nearest_member():
    basis = basis_of()
    assert find_nearest(random_operator(basis), COPIES, basis) is None
    positions = basis_of(n_positions=4)
    assert find_nearest(random_operator(positions), COPIES, positions) is not None
    only = TokenBasis(*(slots.only("position") for slots in vars(positions).values()))
    assert find_nearest(random_operator(only), GD, only) is None


def test_an_operator_that_no_member_touches_is_at_distance_1():
    basis = basis_of()
    zeros = torch.zeros(1, 4, 4, dtype=D)
    to_y, ask_y = zeros.clone(), zeros.clone()
    to_y[0, 3, 3], ask_y[0, 3, 3] = 1, 1
    operator = LayerOperator(ask_y, ask_y, to_y, to_y)  # asks for y with y: nothing of it is in any family
    for family in FAMILIES[:4]:
        assert cast(Nearest, find_nearest(operator, family, basis)).distance == 1.0


# --- planted scalars ---

SEEDS = range(3)


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


# --- chance ---


@pytest.mark.parametrize(("n_dims", "n_layers", "n_heads"), [(3, 1, 1), (3, 2, 1), (4, 2, 2), (5, 1, 3)])
def test_random_layers_are_never_named(n_dims, n_layers, n_heads):
    cfg = LSA(n_dims, N_POINTS, n_layers, n_heads)
    for seed in range(30):
        found = matched(HookedRegressor(cfg, seed), layer=seed % n_layers, n_twins=1)
        assert not found.named and found.verdict in (NOTHING, "preconditioned GD, as untrained"), seed


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_nor_are_random_weights_of_a_trained_layer_s_norm(scale):
    basis = basis_of(5)
    twin = random_operator(basis, n_heads=1, d_head=6, seed=100)
    for seed in range(15):
        operator = random_operator(basis, n_heads=1, d_head=6, seed=seed)
        operator = replace(operator, W_O=scale * operator.W_O / operator.norm)
        assert match_layer("layer 1", operator, basis, 1.0, [twin], CHANCE, 8).verdict == NOTHING


@pytest.mark.parametrize(("n_dims", "n_heads"), [(1, 1), (1, 2), (2, 1)])
def test_in_one_or_two_dimensions_random_layers_are_named_in_one_of_twenty_at_most(n_dims, n_heads):
    """A construction has nearly all entries there: the null is the nearest of 21 random layers, and some pass it."""
    cfg = LSA(n_dims, N_POINTS, 1, n_heads)
    named = Counter(matched(HookedRegressor(cfg, seed), n_twins=1).named for seed in range(40))
    assert named[True] <= 2


def test_chance_is_the_nearest_of_random_layers_of_the_same_shape():
    basis, like = basis_of(), random_operator(basis_of(), n_heads=1)
    found = RandomLayers(0).distance(GD, basis, like)
    assert found == RandomLayers(0).distance(GD, basis, replace(like, W_O=100 * like.W_O))  # its norm is nothing
    assert found != RandomLayers(1).distance(GD, basis, like)
    # Twenty draws: a smallest one that is below most of another twenty, and not below all of many.
    others = [cast(Nearest, find_nearest(random_operator(basis, 1, seed=s), GD, basis)).distance for s in range(200)]
    assert min(others) - 0.05 < found < sorted(others)[50]


def test_a_richer_family_is_nearer_to_chance():
    basis, like, chance = basis_of(), random_operator(basis_of()), RandomLayers(0)
    found = [chance.distance(family, basis, like) for family in FAMILIES[:4]]
    assert found[0] > found[1] > found[3] and found[0] > found[2] > found[3]


def test_chance_is_measured_once_for_each_family_and_shape():
    basis, like, chance = basis_of(), random_operator(basis_of()), RandomLayers(0)
    first = chance.distance(PGD, basis, like)
    assert chance.distance(PGD, basis, random_operator(basis, seed=9)) == first
    assert len(chance._found) == 1
    chance.distance(PGD, basis, random_operator(basis, n_heads=3))
    chance.distance(GD, basis, like)
    assert len(chance._found) == 3


def test_chance_is_1_for_a_family_without_slots():
    assert RandomLayers(0).distance(COPIES, basis_of(), random_operator(basis_of())) == 1.0


def test_twins_stand_beside_the_layer_each_with_its_own_distance():
    model = gradient_descent(4, N_POINTS, [0.3])
    found = matched(model, n_twins=3)
    for match in found.matches:
        assert len(match.untrained) == 3 and len(set(match.untrained)) == 3
        assert match.null == min(match.random, *match.untrained)
    assert by_name(found)["GD"].null > 0.5


def test_a_twin_of_zeros_is_as_far_as_can_be():
    basis = basis_of()
    zero = random_operator(basis)
    zero = replace(zero, W_O=0 * zero.W_O)
    found = match_layer("layer 1", random_operator(basis, seed=1), basis, 1.0, [zero], RandomLayers(0), 8)
    assert {match.untrained for match in found.matches} == {(1.0,)}


def test_without_twins_random_weights_alone_are_chance():
    found = matched(gradient_descent(4, N_POINTS, [0.3]), n_twins=0)
    assert all(match.null == match.random for match in found.matches) and found.named


def test_a_layer_that_was_a_gradient_step_before_training_is_as_untrained():
    """`gradient_step` attention holds the construction from the start: nothing was learned but η."""
    cfg = RegressorConfig(**(LSA(4, N_POINTS, 1).model_dump() | {"attention": "gradient_step"}))
    found = matched(HookedRegressor(cfg))
    assert found.verdict == "GD, as untrained" and not found.named
    assert found.best is not None and found.best.near and not found.best.beyond_chance
    assert found.best.distance.value < 1e-7 and found.best.null < 1e-7 < found.best.random


# --- intervals ---


def test_an_exact_construction_s_intervals_have_no_width():
    found = matched(gd_plus_plus(4, N_POINTS, [0.3, 2.0], [0.1, 0.7], w0=W0, dtype=D), 0)
    assert found.best is not None
    for name in ("η", "γ"):
        estimate = found.best.scalars[name]
        assert estimate.high - estimate.low == pytest.approx(0, abs=1e-9)
    # Without a coordinate of x, w0 lacks one of its own: its length has an interval.
    assert found.best.scalars["|W0|"].high - found.best.scalars["|W0|"].low > 0.1


def perturbed(eps, n_dims=6, seed=0, n_heads=2, n_layers=1):
    """A gradient step beside which a second head adds a random layer of eps times its norm."""
    plain = gradient_descent(n_dims, N_POINTS, [0.3] * n_layers, dtype=D)
    cfg = RegressorConfig(**(plain.cfg.model_dump() | {"n_heads": n_heads}))
    model = HookedRegressor(cfg, seed).double()
    with torch.no_grad():
        for ours, step in zip(model.attentions, plain.attentions, strict=True):
            noise = LayerOperator.of(ours)
            ours.W_O.mul_(0.0)
            first = noise.head(1)
            ours.W_O[1] = first.W_O[0] * eps * LayerOperator.of(step).norm / first.norm
            for name in ("W_Q", "W_K", "W_V", "W_O"):
                getattr(ours, name)[0] = getattr(step, name)[0]
    return model


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


# --- verdicts ---


def fabricated(distance, null, family="GD", high=None):
    """A match of which only the numbers matter."""
    nearest = Nearest(distance, torch.eye(2), torch.eye(2), {"η": 1.0})
    return FamilyMatch(family, Estimate(distance, distance, high or distance), null, (1.0,), {}, nearest)


def verdict_of(*matches, inside=1.0):
    return LayerMatch("layer 1", 1.0, inside, matches, torch.eye(2), torch.eye(2)).verdict


@pytest.mark.parametrize(
    ("distance", "null", "verdict"),
    [
        (0.01, 0.95, "GD"),
        (NAMED, 0.95, "GD"),
        (0.11, 0.95, "like GD, but not it"),
        (0.3, 0.95, "like GD, but not it"),
        (0.31, 0.95, NOTHING),
        (0.01, 0.02, "GD, as untrained"),
        (0.01, 0.021, "GD"),  # less than half of chance
        (0.09, 0.12, "GD, as untrained"),
        (0.2, 0.35, NOTHING),
        (0.2, 0.45, "like GD, but not it"),
        (0.9, 0.95, NOTHING),
    ],
)
def test_the_verdict_follows_from_distance_and_chance(distance, null, verdict):
    assert verdict_of(fabricated(distance, null)) == verdict


def test_an_interval_that_straddles_the_threshold_gives_no_name():
    assert verdict_of(fabricated(0.09, 0.95, high=0.11)) == "like GD, but not it"
    assert verdict_of(fabricated(0.2, 0.95, high=0.48)) == NOTHING  # half of chance is .475


def test_the_simplest_family_that_is_near_enough_gives_the_name():
    matches = fabricated(0.09, 0.9), fabricated(0.01, 0.9, "GD++"), fabricated(0.0, 0.9, "preconditioned GD")
    assert verdict_of(*matches) == "GD"
    assert verdict_of(fabricated(0.2, 0.9), *matches[1:]) == "GD++"


def test_what_lies_outside_the_slots_speaks_against_a_family_near_to_anything():
    """To a family to which chance comes within .9, less than half of the layer's norm between slots is too little."""
    rich, poor = fabricated(0.05, 0.4), fabricated(0.05, 0.95)
    assert verdict_of(rich, inside=0.51) == "GD" and verdict_of(rich, inside=0.49) == NOTHING
    assert verdict_of(poor, inside=0.01) == "GD"
    like = fabricated(0.15, 0.4)
    assert verdict_of(like, inside=0.51) == "like GD, but not it" and verdict_of(like, inside=0.49) == NOTHING


@pytest.mark.parametrize("eps", [0.12, 0.2, 0.28])
def test_a_step_beside_another_head_is_like_gradient_descent(eps):
    """What the second head adds asks with y, which no family does: all are as far, and the simplest gives the name."""
    h = ResidualStream(x=6, y=1)
    step = Head(h.match("x", "x"), -0.3 * h.copy("y", to="y"))
    ask = h.match("y", "y")
    other = Head(ask * eps * 6**0.5, -0.3 * h.copy("y", to="y"))
    model = assemble(LSA(6, N_POINTS, 2, 2), [Layer([step, other])] * 2, D)
    found = matched(model, 0)
    expected = eps / (1 + eps**2) ** 0.5
    assert by_name(found)["GD"].distance.value == pytest.approx(expected, rel=1e-9)
    assert found.verdict == "like GD, but not it" and not found.named


@pytest.mark.parametrize("rich", [0.07, 0.11])
def test_a_family_to_which_chance_comes_near_hides_no_simpler_one(rich):
    assert verdict_of(fabricated(0.15, 0.9), fabricated(rich, 0.12, "preconditioned GD")) == "like GD, but not it"


def test_noise_of_every_kind_leaves_a_step_like_gradient_descent():
    """One head whose weights are all perturbed: GD at a distance of .14, where chance is at .9."""
    model = gradient_descent(5, N_POINTS, [0.3], dtype=D)
    (attention,) = model.attentions
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name in ("W_Q", "W_K", "W_V", "W_O"):
            weight = getattr(attention, name)
            noise = torch.randn(weight.shape, dtype=D, generator=rng)
            weight.add_(0.225 * weight.norm() * noise / noise.norm())
    found = matched(model)
    gd = by_name(found)["GD"]
    assert gd.beyond_chance and NAMED < gd.distance.value < 0.3  # this much holds
    assert found.verdict == "like GD, but not it"


# --- nothing ---


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


def test_the_data_of_a_layer_is_json_and_holds_what_the_verdict_rests_on():
    found = matched(regauge(gd_plus_plus(4, N_POINTS, [0.3, 2.0], [0.1, 0.7]), 0), 0)
    data = json.loads(json.dumps(found.data(), allow_nan=False))
    assert data["label"] == "layer 1" and data["verdict"] == "GD++"
    assert [match["family"] for match in data["matches"]] == [family.name for family in FAMILIES[:4]]
    gdpp = data["matches"][1]
    assert gdpp["scalars"]["γ"]["value"] == pytest.approx(0.1, rel=1e-6)
    assert gdpp["distance"].keys() == {"value", "ci"} and len(gdpp["untrained"]) == 2
    assert len(data["OV"]) == len(data["QK"]) == 5


def test_singular_vectors_by_either_solver_are_the_same():
    """From `MANY` matrices on, only the first pair is computed."""
    assert MANY < 49
    basis = basis_of(7)
    operator = random_operator(basis)
    found = cast(Nearest, find_nearest(operator, PGDPP, basis))
    values, scores = PGDPP.values(basis).matrices, PGDPP.scores(basis).matrices
    largest = torch.linalg.svdvals(operator.against(values, scores))[0].item()
    assert found.distance == pytest.approx((1 - (largest / operator.norm) ** 2) ** 0.5, rel=1e-10)
    again = cast(Nearest, find_nearest(operator, PGDPP, basis))
    torch.testing.assert_close(again.OV, found.OV, rtol=0, atol=0)


def test_a_first_direction_that_the_longest_column_does_not_touch_is_found():
    """The solver's start is that column: here it stands alone, and many shorter ones point together elsewhere."""
    h, eye = ResidualStream(x=7, y=1), torch.eye(7, dtype=D)
    alone = Head(h.match("x", "x", by=eye[0][:, None] * eye[0]), -h.copy("y", to="y"))
    rest = torch.zeros(7, 7, dtype=D)
    rest[1:, 1:] = 1
    together = Head(h.match("x", "x", by=0.2 * rest), -h.copy("x", to="x", by=0.3 * rest))
    model = assemble(LSA(7, N_POINTS, 2, 2), [Layer([alone, together]), Layer([alone])], D)
    basis = token_basis(model)
    operator = LayerOperator.of(model.attentions[0]).seen(basis)
    found = cast(Nearest, find_nearest(operator, PGDPP, basis))
    # The second head is itself a member: 6·6·.2·.3 = 2.16 of norm beside 1.
    assert found.distance == pytest.approx(1 / (1 + 2.16**2) ** 0.5, rel=1e-9)


# --- what must not have the name ---


@pytest.mark.parametrize("etas, last", [([-1.0], "GD with η < 0"), ([1.0, -0.5], "GD with η < 0"), ([1.0, 0.5], "GD")])
def test_a_step_uphill_is_said_to_be_one(etas, last):
    assert matched(regauge(gradient_descent(5, N_POINTS, etas), 0)).verdict == last


def test_a_layer_that_stretches_x_is_said_to():
    model = regauge(gd_plus_plus(5, N_POINTS, [1.0, 1.0], [-1.0, 0.0]), 0)
    assert matched(model, 0).verdict == "GD++ with γ < 0"


def test_a_layer_that_uses_no_label_is_no_step():
    h = ResidualStream(x=4, y=1)
    update = h.copy("x", to="y", by=W0[:, None])
    model = assemble(LSA(4, N_POINTS, 1), [Layer([Head(h.match("x", "x"), update)])], D)
    found = matched(model)
    assert found.verdict == NOTHING and found.best is not None and set(found.best.scalars) == set()


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
