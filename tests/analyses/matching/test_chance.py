"""Random weights get no name."""

from collections import Counter
from dataclasses import replace
from typing import cast

import pytest

from mesascope.analyses.matching.chance import RandomLayers
from mesascope.analyses.matching.families import FAMILIES
from mesascope.analyses.matching.layer_comparison import match_layer
from mesascope.analyses.matching.layer_match import NOTHING
from mesascope.analyses.matching.nearest import Nearest, find_nearest
from mesascope.models import (
    HookedRegressor,
    RegressorConfig,
    gradient_descent,
)

from .planted_layers import CHANCE, COPIES, GD, LSA, N_POINTS, PGD, basis_of, by_name, matched, random_operator


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
