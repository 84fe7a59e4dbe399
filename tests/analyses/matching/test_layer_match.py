"""What a layer is called, given its distances."""

import json

import pytest
import torch

from mesascope.analyses.matching.families import FAMILIES
from mesascope.analyses.matching.layer_match import NAMED, NOTHING
from mesascope.models import (
    gd_plus_plus,
    gradient_descent,
    regauge,
)
from mesascope.models.constructions.assembly import Head, Layer, assemble
from mesascope.models.constructions.residual_stream import ResidualStream

from .planted_layers import LSA, N_POINTS, W0, D, by_name, fabricated, matched, verdict_of


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


def test_the_data_of_a_layer_is_json_and_holds_what_the_verdict_rests_on():
    found = matched(regauge(gd_plus_plus(4, N_POINTS, [0.3, 2.0], [0.1, 0.7]), 0), 0)
    data = json.loads(json.dumps(found.data(), allow_nan=False))
    assert data["label"] == "layer 1" and data["verdict"] == "GD++"
    assert [match["family"] for match in data["matches"]] == [family.name for family in FAMILIES[:4]]
    gdpp = data["matches"][1]
    assert gdpp["scalars"]["γ"]["value"] == pytest.approx(0.1, rel=1e-6)
    assert gdpp["distance"].keys() == {"value", "ci"} and len(gdpp["untrained"]) == 2
    assert len(data["OV"]) == len(data["QK"]) == 5


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
