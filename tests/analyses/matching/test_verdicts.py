"""What is said of all layers together."""

import json
from dataclasses import replace

import pytest
import torch

from mesascope.analyses.matching import Matching
from mesascope.analyses.matching.layer_match import NOTHING, LayerMatch
from mesascope.models import (
    HookedRegressor,
    copy_then_descend,
    gd_plus_plus,
    gradient_descent,
    preconditioned_gradient_descent,
    regauge,
)
from mesascope.models.constructions.assembly import Head, Layer, assemble
from mesascope.models.constructions.residual_stream import ResidualStream
from tests.models.families import changed

from .whole_models import LSA, N_POINTS, D, best, matching, with_random_layer

A = torch.diag(torch.tensor([0.2, 0.5, 1.0, 2.0], dtype=D))
W0 = torch.tensor([0.5, -1.0, 0.25, 2.0], dtype=D)


def stacked(*heads, dtype=torch.float32):
    """A layer of each head, in linear self-attention."""
    return assemble(LSA(4, N_POINTS, len(heads), 1), [Layer([head]) for head in heads], dtype)


def step(by=None, gamma=0.0, eta=0.5):
    """The head of one (preconditioned) gradient step, with a curvature correction."""
    h, n = ResidualStream(x=4, y=1), N_POINTS - 1
    return Head(h.match("x", "x", by=by), -(eta / n) * h.copy("y", to="y") - (gamma / n) * h.copy("x", to="x"))


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
