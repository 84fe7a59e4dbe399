"""The spans of which the families are made: orthonormal, nested, and with the constructions inside."""

import pytest
import torch

from mesascope.analyses.matching.families import COPY, FAMILIES, Span
from mesascope.models import (
    HookedRegressor,
    RegressorConfig,
    copy_then_descend,
    gd_plus_plus,
    gradient_descent,
    preconditioned_gradient_descent,
    regauge,
)
from mesascope.probes import LayerOperator, Slots, TokenBasis, reachable, token_basis

D = torch.float64
LSA = RegressorConfig.linear_self_attention
BY_NAME = {family.name: family for family in FAMILIES}
GD, GDPP, PGD, PGDPP = FAMILIES[:4]
W0 = torch.tensor([0.5, -1.0, 0.25], dtype=D)
A = torch.tensor([[0.5, 0.1, 0.0], [0.0, 0.3, 0.2], [-0.1, 0.0, 0.4]], dtype=D)


def named(*kinds):
    return tuple((kind, index) for kind, n in kinds for index in range(n))


def basis_of(n_x=3, n_y=1, n_positions=0):
    names = named(("x", n_x), ("y", n_y), ("position", n_positions))
    return TokenBasis.of(Slots(names, torch.eye(len(names), dtype=D)))


BASES = {
    "joint": basis_of(),
    "two outputs": basis_of(n_y=2),
    "one coordinate": basis_of(n_x=1),
    "with positions": basis_of(n_positions=4),
    "the last layer": reachable(basis_of(), HookedRegressor(LSA(3, 6, 2)), 1),
    "the only layer": reachable(basis_of(), HookedRegressor(LSA(3, 6, 1)), 0),
    "fitted": TokenBasis(Slots(named(("x", 3)), torch.eye(4, dtype=D)[:3]), *(basis_of().query,) * 2, basis_of().write),
    "a coordinate left out": basis_of().without(1),
}


def test_a_span_holds_matrices_of_norm_1_and_their_sizes():
    found = Span.of(["a", "b"], torch.stack([torch.eye(2), torch.tensor([[0.0, 3.0], [0.0, 4.0]])]).double())
    assert found.names == ("a", "b") and found.sizes == pytest.approx((2**0.5, 5.0))
    torch.testing.assert_close(found.matrices.flatten(1).norm(dim=1), torch.ones(2, dtype=D))
    torch.testing.assert_close(found.matrices[1], torch.tensor([[0.0, 0.6], [0.0, 0.8]], dtype=D))


def test_a_span_leaves_out_zeros():
    found = Span.of(["a", "b"], torch.stack([torch.zeros(2, 2), torch.eye(2)]).double())
    assert found.names == ("b",) and len(found.matrices) == len(found.sizes) == 1
    assert Span.of(["a"], torch.zeros(1, 2, 3, dtype=D)).names == ()


def test_spans_add_up():
    one, other = Span.of(["a"], torch.eye(2, dtype=D)[None]), Span.of(["b"], 2 * torch.eye(2, dtype=D)[None])
    both = one + other
    assert both.names == ("a", "b") and both.sizes == one.sizes + other.sizes
    torch.testing.assert_close(both.matrices, torch.cat([one.matrices, other.matrices]))


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
@pytest.mark.parametrize("name", BASES)
def test_both_spans_of_every_family_are_orthonormal(name, family):
    """Otherwise the first singular vectors would be no projection."""
    basis = BASES[name]
    for span, rows, cols in (
        (family.values(basis), basis.value, basis.write),
        (family.scores(basis), basis.query, basis.key),
    ):
        flat = span.matrices.flatten(1)
        torch.testing.assert_close(flat @ flat.T, torch.eye(len(flat), dtype=D))
        assert span.matrices.shape[1:] == (len(rows.names), len(cols.names))
        assert len(span.names) == len(span.sizes) == len(flat)


@pytest.mark.parametrize(
    ("family", "values", "scores"),
    [
        ("GD", 1 + 3, 1),  # η, and W0 of each coordinate
        ("GD++", 1 + 3 + 1, 1),  # and γ
        ("preconditioned GD", 1 + 3, 9),  # and A
        ("preconditioned GD++", 1 + 3 + 9, 9),  # and P
        (COPY, 1, 16),  # x as it is, for any scores of positions
    ],
)
def test_each_family_has_its_free_scalars(family, values, scores):
    basis = basis_of(n_positions=4)
    assert len(BY_NAME[family].values(basis).names) == values
    assert len(BY_NAME[family].scores(basis).names) == scores


def test_scalars_are_named_by_what_they_lead_from_and_to():
    basis = basis_of(n_x=2, n_y=2)
    assert GDPP.values(basis).names == ("η", "W0[0,0]", "W0[0,1]", "W0[1,0]", "W0[1,1]", "γ")
    assert PGD.scores(basis).names == ("A[0,0]", "A[0,1]", "A[1,0]", "A[1,1]")


def test_what_no_slot_holds_is_no_scalar():
    assert "γ" not in GDPP.values(BASES["the last layer"]).names  # nobody reads what it writes to x
    assert PGDPP.values(BASES["the last layer"]).names == PGD.values(BASES["the last layer"]).names
    assert COPY == FAMILIES[-1].name
    for name in ("joint", "two outputs"):
        assert BY_NAME[COPY].scores(BASES[name]).names == ()  # no positions


def test_the_coordinates_of_x_need_not_come_first_or_in_order():
    """Slots are matched by their names: between shuffled slots the same span, shuffled."""
    basis, order = basis_of(), [2, 3, 0, 1]
    names = tuple(basis.query.names[place] for place in order)
    shuffled = TokenBasis.of(Slots(names, torch.eye(4, dtype=D)[order]))
    for family in (GD, GDPP):
        for values, expected in (
            (family.values(shuffled), family.values(basis)),
            (family.scores(shuffled), family.scores(basis)),
        ):
            found = dict(zip(values.names, values.matrices, strict=True))
            for name, matrix in zip(expected.names, expected.matrices, strict=True):
                torch.testing.assert_close(found[name], matrix[order][:, order])


def inside(matrix, span):
    """The part of a matrix' squared norm that a span holds."""
    return (torch.einsum("aij,ij->a", span.matrices, matrix).square().sum() / matrix.square().sum()).item()


def share_inside(operator, family, basis):
    """The same of both products of an operator of one head."""
    (OV,), (QK,) = operator.W_V @ operator.W_O, operator.W_Q @ operator.W_K.mT
    return inside(OV, family.values(basis)) * inside(QK, family.scores(basis))


PLANTED = {
    "GD": gradient_descent(3, 9, [0.3, 0.2], dtype=D),
    "GD, w0": gradient_descent(3, 9, [0.3, 0.2], w0=W0, dtype=D),
    "GD, two outputs": gradient_descent(3, 9, [0.3, 0.2], d_out=2, dtype=D),
    "GD++": gd_plus_plus(3, 9, [0.3, 0.2], [0.1, 0.4], dtype=D),
    "GD++, w0": gd_plus_plus(3, 9, [0.3, 0.2], [0.1, 0.4], w0=W0, dtype=D),
    "preconditioned GD": preconditioned_gradient_descent(9, [A, A.T], dtype=D),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_construction_lies_in_its_family_and_in_all_that_hold_it(name):
    model = regauge(PLANTED[name], seed=0)
    planted, basis = name.split(",")[0], token_basis(model)
    for attention in model.attentions:
        seen = LayerOperator.of(attention).seen(basis)
        for family in FAMILIES[:4]:
            share = share_inside(seen, family, basis)
            holds = family.name == planted or planted in family.simpler
            assert (share == pytest.approx(1, abs=1e-12)) == holds, family.name


def test_the_copy_of_separate_tokens_lies_in_the_family_of_copies():
    model = copy_then_descend(3, 6, 0.5, dtype=D)
    basis = token_basis(model)
    copy, step = (LayerOperator.of(attention).seen(basis) for attention in model.attentions)
    assert share_inside(copy, BY_NAME[COPY], basis) == pytest.approx(1, abs=1e-12)
    assert share_inside(step, BY_NAME[COPY], basis) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
@pytest.mark.parametrize("name", BASES)
def test_the_families_called_simpler_lie_inside(name, family):
    basis = BASES[name]
    for simpler in family.simpler:
        for mine, theirs in (
            (family.values(basis), BY_NAME[simpler].values(basis)),
            (family.scores(basis), BY_NAME[simpler].scores(basis)),
        ):
            for matrix in theirs.matrices:
                assert inside(matrix, mine) == pytest.approx(1, abs=1e-12), simpler


def test_simpler_families_come_first():
    names = [family.name for family in FAMILIES]
    for place, family in enumerate(FAMILIES):
        assert all(names.index(simpler) < place for simpler in family.simpler)
    assert len(set(names)) == len(names)
