"""What the weights of the bundled models hold."""

from typing import cast

import pytest
import torch

from mesascope.analyses import attach
from mesascope.analyses.matching import match_weights
from mesascope.analyses.matching.layer_match import NOTHING
from mesascope.models import HookedRegressor, LinearRegression, optimal_preconditioner
from mesascope.models.optima import optimal_step
from tests.models.families import FAMILIES

from .whole_models import D, best, matching, of_zoo


def test_the_bundled_single_layer_is_the_best_single_step():
    scope, found = of_zoo("lsa-1")
    assert found.verdict == "1 step of GD"
    assert found.layers[0].inside >= 0.99 and "between slots" not in found.claims[0].text
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
    least, most = sorted(layer.inside for layer in found.layers)
    shares = f"{least:.2f} to {most:.2f}" if f"{least:.2f}" != f"{most:.2f}" else f"{least:.2f}"
    assert f", where {shares} of a layer's squared norm lies between slots of tokens." in found.claims[0].text


def test_an_untrained_twin_of_each_is_nothing():
    for name in ("lsa-1", "lsa-2-tied", "preconditioned", "softmax-heads"):
        found = match_weights(attach(f"zoo:{name}@untrained-7"))
        assert found.family is None and {layer.named for layer in found.layers} == {False}, name


def test_an_untrained_decoder_is_nothing():
    cfg = FAMILIES["decoder"]
    found = matching(HookedRegressor(cfg, 1), task=LinearRegression(n_dims=3, n_points=6))
    assert found.verdict == f"{NOTHING} (2 layers)" and found.n_context is None
