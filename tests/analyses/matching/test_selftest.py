import json
import math

import pytest
import torch

from mesascope.analyses.matching import selftest
from mesascope.analyses.matching.selftest import (
    ConstructionCase,
    ConstructionTest,
    constructions,
    count_constructions,
    of_the_same_norm,
    run_construction_test,
)
from mesascope.models import gradient_descent
from mesascope.models.streams import generator


def case(verdict="1 step of GD", distance=1e-7, error=1e-7, expected="1 step of GD"):
    return ConstructionCase("GD", expected, verdict, distance, error)


@pytest.mark.parametrize(
    "made, right",
    [
        (case(), True),
        (case("2 steps of GD"), False),
        (case(distance=2e-5), False),
        (case(error=2e-4), False),
        (case("", expected=None), True),
        (case("1 step of GD", expected=None), False),
    ],
)
def test_name_distance_and_scalars_must_all_be_right_and_chance_without_a_name(made, right):
    found = ConstructionTest((made, case()), 3)
    assert made.right is right and found.by_kind == {"GD": (1 + right, 2)}
    assert len(found.failures) == (not right)
    assert json.loads(json.dumps(found.data()))["seed"] == 3


def test_random_weights_have_the_norms_of_what_they_replace():
    model = gradient_descent(3, 8, [0.5, 0.2])
    random = of_the_same_norm(model, generator(0, "x"))
    for mine, theirs in zip(random.parameters(), model.parameters(), strict=True):
        assert mine.norm().item() == pytest.approx(theirs.norm().item(), rel=1e-5) and not torch.equal(mine, theirs)


def some(kinds):
    return lambda rng: (planted for planted in constructions(rng) if planted.kind in kinds)


@pytest.mark.parametrize(
    "kind", ["GD", "GD from W0", "GD, two outputs", "GD++", "preconditioned GD", "copy", "induction"]
)
def test_a_planted_construction_is_found_and_random_weights_in_its_place_are_not(monkeypatch, kind):
    monkeypatch.setattr(selftest, "constructions", some((kind,)))
    said: list[str] = []
    found = run_construction_test(1, 1, said.append)
    assert said == [kind, f"random weights in the place of {kind}"] and count_constructions(1) == 2
    assert found.failures == () and [one.kind for one in found.cases] == [kind, "random weights"]


@pytest.mark.slow
@pytest.mark.parametrize("form", ["mlp", "attention only", "relu", "scratch"])
def test_newton_is_found_in_every_form(monkeypatch, form):
    monkeypatch.setattr(selftest, "constructions", some((f"Newton, {form}",)))
    found = run_construction_test(2, 1)
    assert found.failures == () and len(found.cases) == 2


def test_a_scalar_that_no_layer_holds_is_an_error(monkeypatch):
    planted = next(some(("GD",))(generator(0, "x")))
    found = selftest._graded(
        selftest.Planted("GD", planted.model, planted.name, planted.scalars | {"γ": [1.0]}),
        selftest._matched(planted.model, 0),
    )
    assert found.error == math.inf and not found.right
