"""Constructions of an architecture of their own, in random gauges, and what is none of them."""

import json
import math

import pytest
import torch

from mesascope.analyses import attach
from mesascope.analyses.matching import match_weights
from mesascope.analyses.matching.whole import (
    FAR,
    GRID,
    STEP,
    VANISHING,
    WholeMatch,
    constructions_of,
    distance_between,
    distance_to,
    match_whole,
    nearest_member,
)
from mesascope.models import (
    HookedRegressor,
    RegressorConfig,
    RepeatedSequence,
    copy_then_descend,
    gd_plus_plus,
    gradient_descent,
    induction,
    newton,
    regauge,
)
from mesascope.probes import align, layer_maps, outer_vectors
from tests.models.constructions.perturbed import perturbed
from tests.models.families import FAMILIES, changed

D = torch.float64
PLANTED = {
    "1 step of Newton (mlp)": (newton(3, 7, 1, 5e-3), 5e-3),
    "1 step of Newton (attention only)": (newton(3, 7, 1, 5e-3, "attention_only"), 5e-3),
    "1 step of Newton (relu)": (newton(2, 7, 1, 0.02, "relu"), 0.02),
    "1 step of Newton (scratch)": (newton(3, 7, 1, 5e-3, "scratch"), 5e-3),
    "neighbour copy, then 1 step of GD": (copy_then_descend(3, 7, 0.6), 0.6),
    "induction as 1 step of GD": (induction(4, 6, 2.0), 2.0),
}
AT_ITS_SCALAR = {
    name: (model, next(each for each in constructions_of(model.cfg) if each.name == name).build(scalar))
    for name, (model, scalar) in PLANTED.items()
}
"""Planted models, float32, and their constructions, float64."""


@pytest.mark.parametrize("name", PLANTED)
def test_every_construction_in_a_random_gauge_is_named_with_its_scalar(name):
    model, scalar = PLANTED[name]
    twins = [model.untrained_twin(seed) for seed in (11, 12)]
    found = match_whole(regauge(model, seed=1), twins)
    assert found is not None and found.name == name
    assert found.scalar == pytest.approx(scalar, rel=1e-4)
    assert found.distance <= 1e-5  # float32 rounds weights to 6e-8
    assert found.named and found.null > 0.7 and len(found.untrained) == 2


@pytest.mark.parametrize("name", [name for name in PLANTED if "scratch" not in name])
def test_distance_grows_with_the_perturbation_of_the_weights(name):
    model, construction = AT_ITS_SCALAR[name]
    sizes = (0.0, 1e-3, 1e-2, 0.03)
    distances = [distance_to(construction, regauge(perturbed(model, eps), 2)) for eps in sizes]
    assert distances == sorted(distances) and distances[0] < 1e-5
    for eps, distance in zip(sizes[1:], distances[1:], strict=True):
        assert 0.5 * eps < distance < 3 * eps  # four factors, each off by eps


def test_newton_in_scratch_tokens_is_named_though_its_weights_are_a_percent_off():
    construction = newton(3, 7, 2, 5e-3, "scratch", dtype=D)
    for seed in range(3):
        other = regauge(perturbed(construction, 0.01, seed), seed)
        assert min(distance_to(construction, other, length) for length in VANISHING) < 0.03


@pytest.mark.parametrize("name", PLANTED)
def test_untrained_models_and_random_weights_of_the_same_norm_are_far(name):
    model, construction = AT_ITS_SCALAR[name]
    for seed in range(3):
        assert distance_to(construction, model.untrained_twin(seed)) > 0.7
        assert distance_to(construction, perturbed(model, 30.0, seed)) > 0.7


def test_an_untrained_model_is_not_named_and_its_search_ends_early():
    model = newton(3, 7, 1, 5e-3).untrained_twin(0)
    found = match_whole(model, [model.untrained_twin(1)])
    assert found is not None and not found.named and found.distance > FAR
    assert math.log(found.scalar) in GRID  # no more than the grid was tried


@pytest.mark.parametrize(
    "model",
    [gradient_descent(3, 9, [0.3, 0.2]), gd_plus_plus(3, 9, [0.3, 0.2], [0.1, 0.2]), HookedRegressor(FAMILIES["sine"])],
)
def test_gradient_descent_and_other_architectures_are_no_candidates(model):
    assert constructions_of(model.cfg) == []
    assert match_whole(model, []) is None


def test_every_other_family_of_models_but_those_is_none_either():
    for name, cfg in FAMILIES.items():
        found = [construction.name for construction in constructions_of(cfg)]
        assert found == ([] if name != "separate" else ["neighbour copy, then 1 step of GD"] if found else []), name


def test_a_construction_counts_its_steps_by_the_layers():
    for n, steps in ((0, "0 steps"), (1, "1 step"), (2, "2 steps")):
        names = [construction.name for construction in constructions_of(newton(3, 7, n, 5e-3, "scratch").cfg)]
        assert names == [f"{steps} of Newton (scratch)"]


def test_without_a_step_two_forms_are_one_architecture():
    names = [construction.name for construction in constructions_of(newton(3, 7, 0, 5e-3).cfg)]
    assert names == ["0 steps of Newton (mlp)", "0 steps of Newton (attention only)"]


@pytest.mark.parametrize("name", PLANTED)
def test_a_construction_is_built_for_the_model_s_sizes(name):
    model, scalar = PLANTED[name]
    (found,) = [each for each in constructions_of(model.cfg) if each.name == name]
    built = found.build(scalar)
    assert next(built.parameters()).dtype == D
    for weight, expected in zip(built.weights.values(), model.weights.values(), strict=True):
        torch.testing.assert_close(weight.float(), expected)


@pytest.mark.parametrize("fields", [{"tied": True}, {"damping": 0.5}, {"clip": 2.0}, {"causal": True}])
def test_another_architecture_is_no_candidate(fields):
    cfg = newton(3, 7, 1, 5e-3, "attention_only").cfg
    assert constructions_of(cfg) and not constructions_of(changed(cfg, **fields))


def test_the_scale_of_initial_weights_is_no_part_of_an_architecture():
    cfg = changed(newton(3, 7, 1, 5e-3, "attention_only").cfg, init_scale=0.1)
    assert [each.name for each in constructions_of(cfg)] == ["1 step of Newton (attention only)"]


@pytest.mark.parametrize("fields", [{"d_mlp": 0}, {"attention": ("linear",) * 3}, {"mlp_bias": True}])
def test_the_spelling_of_a_config_does_not_matter(fields):
    """No MLP for all layers is none for each; one kind of attention for all is that for each."""
    cfg = changed(newton(3, 7, 1, 5e-3, "attention_only").cfg, **fields)
    assert [each.name for each in constructions_of(cfg)] == ["1 step of Newton (attention only)"]


def test_sizes_of_which_a_construction_cannot_be_built_have_none():
    """An odd code, a single point, a single layer: its makers refuse, and that is no error here."""
    separate = copy_then_descend(3, 7, 0.6).cfg
    assert constructions_of(separate)
    assert not constructions_of(changed(separate, d_position=9, d_model=13))
    assert not constructions_of(changed(newton(3, 7, 0, 5e-3).cfg, n_layers=1, d_mlp=0))
    assert not constructions_of(RegressorConfig.linear_self_attention(3, 1, 1))


def formed(part):
    if isinstance(part, torch.Tensor):
        return part
    return torch.einsum("hvd,hdw,hqe,hke->vwqk", part.W_V, part.W_O, part.W_Q, part.W_K)


def turned(part, R):
    """A formed tensor in another basis, side by side."""
    if part.ndim == 2:
        return R.T @ part @ R
    return torch.einsum("vwqk,va,wb,qc,kd->abcd", part, R, R, R, R)


@pytest.mark.parametrize("form", ["mlp", "scratch"])
def test_the_distance_is_that_of_the_formed_tensors_each_relative_to_the_larger(form):
    one, other = newton(2, 5, 1, 5e-3, form, dtype=D), newton(2, 5, 1, 0.1, form, dtype=D)
    other = regauge(other, 0)
    R = align(one, other)
    pairs = [(outer_vectors(one) @ R, outer_vectors(other))]
    pairs += [(turned(formed(a), R), formed(b)) for a, b in zip(layer_maps(one), layer_maps(other), strict=True)]
    parts = [((a - b).norm() / max(a.norm(), b.norm())) ** 2 for a, b in pairs]
    assert len(parts) == 1 + 3 + (form == "mlp")
    assert distance_between(one, other, R) == pytest.approx((sum(parts) / len(parts)).sqrt().item(), rel=1e-6)


def test_the_distance_of_two_models_is_symmetric_and_of_one_to_itself_zero():
    one, other = (newton(2, 5, 1, alpha, dtype=D) for alpha in (5e-3, 0.1))
    R = align(one, other)
    assert distance_between(one, other, R) == pytest.approx(distance_between(other, one, R.T), rel=1e-9)
    assert distance_between(one, one, torch.eye(10, dtype=D)) < 1e-7


def test_a_part_that_is_missing_is_1_apart():
    """The last layer of zeros: one of four parts, as far as can be, and no division by zero."""
    one = newton(2, 5, 1, 5e-3, "attention_only", dtype=D)
    other = newton(2, 5, 1, 5e-3, "attention_only", dtype=D)
    with torch.no_grad():
        other.attentions[-1].out_weight.zero_()
    eye = torch.eye(one.cfg.d_model, dtype=D)
    assert distance_between(one, other, eye) == pytest.approx(0.5, rel=1e-7)
    with torch.no_grad():
        one.attentions[-1].out_weight.zero_()
    assert distance_between(one, other, eye) < 1e-7  # missing in both


def test_in_slots_nothing_is_rotated():
    """A stream of slots has a basis of its own: a model whose x was turned is another one."""
    construction = copy_then_descend(3, 7, 0.6, dtype=D)
    R = torch.linalg.qr(torch.randn(3, 3, dtype=D, generator=torch.Generator().manual_seed(0)))[0]
    other = copy_then_descend(3, 7, 0.6, dtype=D)
    with torch.no_grad():
        other.attentions[0].W_V[:, :3] = R @ other.attentions[0].W_V[:, :3]
    assert distance_to(construction, construction) < 1e-7
    assert distance_to(construction, other) > 0.5


@pytest.mark.parametrize("eta", [math.exp(GRID[0]), 1e-3, 1.0, 7.3, math.exp(GRID[-1] + 0.9 * STEP)])
def test_the_scalar_is_found_between_the_grid_s_points_and_at_its_ends(eta):
    model = copy_then_descend(3, 7, eta, dtype=D)
    (construction,) = constructions_of(model.cfg)
    scalar, distance = nearest_member(construction, model)
    assert scalar == pytest.approx(eta, rel=1e-5) and distance < 1e-5


@pytest.mark.parametrize("eta", [-0.6, 100.0, 1e-7])
@pytest.mark.xfail(
    strict=True,
    reason="LIMIT: a scalar is searched for from e^-14 to e^4 alone, though a negative or larger η, and an α of less "
    "than 8e-7 (λ_max(S) above 1000), are constructions too",
)
def test_a_scalar_beyond_the_grid_is_found(eta):
    model = copy_then_descend(3, 7, eta, dtype=D)
    (construction,) = constructions_of(model.cfg)
    scalar, distance = nearest_member(construction, model)
    assert scalar == pytest.approx(eta, rel=1e-4) and distance < 1e-5


@pytest.mark.parametrize(
    ("distance", "untrained", "named"),
    [
        (0.05, (0.9, 0.8), True),
        (0.1, (0.9,), True),
        (0.11, (0.9,), False),
        (0.05, (0.9, 0.1), False),  # one twin is as near: less than half of chance is wanted
        (0.04, (0.9, 0.1), True),
        (0.05, (), True),
    ],
)
def test_a_construction_is_named_where_it_is_near_and_chance_is_not(distance, untrained, named):
    found = WholeMatch("induction as 1 step of GD", "η", 2.0, distance, untrained)
    assert found.named == named
    assert found.null == min(untrained, default=1.0)
    assert json.loads(json.dumps(found.data())) == {
        "name": "induction as 1 step of GD",
        "symbol": "η",
        "scalar": 2.0,
        "distance": distance,
        "untrained": list(untrained),
    }


def test_match_weights_names_an_induction_construction_on_tokens_without_x_and_y():
    task = RepeatedSequence(n_dims=4, n_points=6, period=3)
    found = match_weights(attach(regauge(induction(4, 6, 2.0), 3), task=task))
    assert found.layers == () and found.verdict == "induction as 1 step of GD"
    (claim,) = found.claims
    assert claim.id == "matching.model" and claim.verdict == found.verdict
    assert "induction as 1 step of GD with η = 2 leaves" in claim.text
    assert claim.value is not None and claim.value < 1e-5 and claim.null is not None and claim.null > 0.7
    assert found.figures() == ()
    assert json.dumps(found.to_json(), allow_nan=False)


def test_match_weights_says_so_where_all_weights_are_far_from_the_construction():
    task = RepeatedSequence(n_dims=4, n_points=6, period=3)
    found = match_weights(attach(HookedRegressor(induction(4, 6).cfg, 5), task=task))
    assert found.layers == () and found.verdict == "none of the constructions"
    assert found.claims[0].value is not None and found.claims[0].value > 0.7
