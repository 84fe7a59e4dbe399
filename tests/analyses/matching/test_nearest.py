"""The nearest member of a family: by brute force, and in the limits."""

from dataclasses import replace
from typing import cast

import pytest
import torch

from mesascope.analyses.matching.families import FAMILIES
from mesascope.analyses.matching.nearest import MANY, Nearest, find_nearest
from mesascope.models.constructions.assembly import Head, Layer, assemble
from mesascope.models.constructions.residual_stream import ResidualStream
from mesascope.probes import LayerOperator, TokenBasis, token_basis

from .planted_layers import (
    COPIES,
    GD,
    GDPP,
    LINEAR_IN_THEIR_SCALARS,
    LSA,
    N_POINTS,
    PGD,
    PGDPP,
    D,
    basis_of,
    formed,
    random_operator,
)


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
