"""Rotations of the residual stream, planted and found again from weights alone."""

from functools import partial
from typing import cast, get_args

import pytest
import torch

from mesascope.models import HookedRegressor, gradient_descent, induction, newton, regauge
from mesascope.models.blocks import MLP
from mesascope.models.constructions.gauge import READS, WRITES
from mesascope.models.constructions.newton_schulz import NewtonForm
from mesascope.models.inputs import random_bases
from mesascope.models.streams import generator
from mesascope.probes import LayerOperator, align, layer_maps, outer_vectors
from tests.models.constructions.perturbed import perturbed
from tests.models.families import FAMILIES, changed

D = torch.float64
FORMS: tuple[NewtonForm, ...] = get_args(NewtonForm)
EXAMPLES = FORMS[:3]
"""The forms that keep Newton's iterate in the examples' own tokens."""
CONSTRUCTIONS = {
    **{f"newton, {form}, {k} steps": partial(newton, 4, 9, k, 1e-3, form) for form in FORMS for k in (1, 3)},
    "induction": partial(induction, 5, 12, 2.0),
}
PLAIN = changed(FAMILIES["decoder"], layer_norm=False, attention="linear", mlp_activation="linear")
RANDOM = {
    "decoder without norms": PLAIN,
    "without MLPs": changed(PLAIN, d_mlp=0),
    "with a code beside its tokens": changed(PLAIN, d_model=12, positions="sinusoidal", d_position=4),
    "tied": changed(PLAIN, tied=True),
    "scratch": changed(FAMILIES["linear mlp"], layer_norm=False, attention="linear"),
}


@torch.no_grad()
def rotated(model, seed=0):
    """A model in another basis of its stream, heads untouched, and the rotation."""
    cfg = model.cfg
    turned = random_bases(1, cfg.d_model - cfg.d_position, generator(seed, "planted"))[0]
    R = torch.block_diag(turned, torch.eye(cfg.d_position, dtype=D))
    other = HookedRegressor(cfg).double()
    other.load_state_dict(model.state_dict())
    for name, weight in other.named_parameters():
        if name.endswith(READS):
            weight.copy_(R.T @ weight)
        elif name.endswith(WRITES):
            weight.copy_(weight @ R[: weight.shape[-1], : weight.shape[-1]])
    return other.to(next(model.parameters()).dtype), R


def left(model, other, R):
    """The largest part of a tensor that a rotation leaves unexplained, by the formed operators."""
    parts = []
    for one, two in zip(layer_maps(model), layer_maps(other), strict=True):
        if isinstance(one, LayerOperator) and isinstance(two, LayerOperator):
            turned = LayerOperator(R.T @ one.W_Q, R.T @ one.W_K, R.T @ one.W_V, one.W_O @ R)
            T, T2 = (torch.einsum("hvd,hdw,hqe,hke->vwqk", o.W_V, o.W_O, o.W_Q, o.W_K) for o in (turned, two))
        else:
            assert isinstance(one, torch.Tensor) and isinstance(two, torch.Tensor)
            T, T2 = R.T @ one @ R, two
        parts.append(((T - T2).norm() / T2.norm().clamp(min=1e-300)).item())
    outer, outer2 = outer_vectors(model) @ R, outer_vectors(other)
    return max([*parts, ((outer - outer2).norm() / outer2.norm()).item()])


def assert_is_rotation(R):
    torch.testing.assert_close(R @ R.T, torch.eye(len(R), dtype=D), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", CONSTRUCTIONS)
def test_a_planted_rotation_is_recovered(name):
    """Every slot of these constructions is defined by a weight, so that there is one rotation only."""
    model = CONSTRUCTIONS[name](dtype=D)
    other, planted = rotated(model)
    found = align(model, other)
    assert_is_rotation(found)
    torch.testing.assert_close(found, planted, rtol=0, atol=1e-7)


@pytest.mark.parametrize("name", CONSTRUCTIONS)
def test_it_is_recovered_from_float32_weights_in_another_gauge_too(name):
    model = CONSTRUCTIONS[name](dtype=torch.float32)
    other, planted = rotated(model, seed=1)
    other = _heads_regauged(other)
    found = align(model, other)
    # Weights are rounded to 6e-8, and the iterates of Newton's later layers rest on all that come before.
    torch.testing.assert_close(found, planted, rtol=0, atol=1e-5)


@torch.no_grad()
def _heads_regauged(model):
    """Other weights of the same heads, in reversed order."""
    other = HookedRegressor(model.cfg).double()
    other.load_state_dict(model.state_dict())
    rng = generator(0, "heads")
    for attention in other.attentions:
        G, H = (random_bases(attention.n_heads, attention.d_head, rng) * 2 for _ in range(2))
        for W, by in (
            (attention.W_Q, G),
            (attention.W_K, torch.linalg.inv(G).mT),
            (attention.W_V, H),
        ):
            W.copy_((W @ by).flip(0))
        attention.W_O.copy_((torch.linalg.inv(H) @ attention.W_O).flip(0))
    return other.to(next(model.parameters()).dtype)


@pytest.mark.parametrize("name", RANDOM)
@pytest.mark.parametrize("seed", range(2))
def test_a_random_model_is_aligned_with_itself_in_another_gauge(name, seed):
    model = HookedRegressor(RANDOM[name], seed).double()
    other = regauge(model, seed)
    R = align(model, other)
    assert_is_rotation(R)
    assert left(model, other, R) < 1e-7
    code = R[model.cfg.d_model - model.cfg.d_position :]
    torch.testing.assert_close(code, torch.eye(model.cfg.d_model, dtype=D)[len(R) - len(code) :], rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("form", "n_steps"),
    [
        ("mlp", 1),
        ("attention_only", 1),
        ("relu", 1),
        ("scratch", 2),
        ("scratch", 3),
    ],
)
def test_a_rotation_of_weights_that_are_a_percent_off_is_recovered(form, n_steps):
    """As near as the planted one comes: trained weights are never exact."""
    model = newton(3, 7, n_steps, 5e-3, form, dtype=D)
    for seed in range(3):
        other, planted = rotated(perturbed(model, 0.01, seed), seed)
        nearest = min(left(model, other, align(model, other, vanishing=length)) for length in (1e-5, 1e-3, 1e-2))
        assert nearest < 2 * left(model, other, planted)


@pytest.mark.parametrize("name", RANDOM)
def test_random_models_of_other_seeds_do_not_align(name):
    model, other = (HookedRegressor(RANDOM[name], seed).double() for seed in (1, 2))
    R = align(model, other)
    assert_is_rotation(R)
    assert left(model, other, R) > 0.7


@pytest.mark.parametrize("form", FORMS)
def test_no_rotation_brings_a_random_model_to_newton(form):
    model = newton(3, 9, 1, 1e-3, form, dtype=D)
    twin = model.untrained_twin(3)
    assert left(model, twin, align(model, twin)) > 0.7


def test_a_model_is_aligned_with_itself_by_the_identity():
    model = newton(4, 9, 2, 1e-3, dtype=D)
    torch.testing.assert_close(align(model, model), torch.eye(18, dtype=D), rtol=0, atol=1e-7)


def test_the_other_way_round_it_is_the_inverse():
    model = newton(4, 9, 2, 1e-3, dtype=D)
    other, _ = rotated(model)
    torch.testing.assert_close(align(other, model), align(model, other).T, rtol=0, atol=1e-7)


def test_any_seed_of_the_combinations_finds_the_rotation():
    model = newton(3, 9, 2, 1e-3, "scratch", dtype=D)
    other, planted = rotated(model)
    found = [align(model, other, seed) for seed in range(4)]
    for R in found:
        torch.testing.assert_close(R, planted, rtol=0, atol=1e-7)
    assert torch.equal(found[1], align(model, other, 1))


@pytest.mark.parametrize("form", EXAMPLES)
@pytest.mark.parametrize("times", [10, 500])
def test_another_scalar_hardly_matters_to_newton_in_the_examples(form, times):
    """Vectors are matched at length 1, and α stretches only what it stands before."""
    other, planted = rotated(newton(4, 9, 2, 1e-3 * times, form, dtype=D))
    found = align(newton(4, 9, 2, 1e-3, form, dtype=D), other)
    torch.testing.assert_close(found, planted, rtol=0, atol=1e-6)


def test_nor_does_the_step_size_to_induction():
    other, planted = rotated(induction(5, 12, 0.05, dtype=D))
    torch.testing.assert_close(align(induction(5, 12, 2.0, dtype=D), other), planted, rtol=0, atol=1e-6)


def test_to_newton_in_scratch_tokens_the_scalar_matters_so_that_it_must_be_searched():
    """One head writes αM and S together, and their share depends on α: why `distance_to` aligns anew at each scalar."""
    other, planted = rotated(newton(4, 9, 1, 0.5, "scratch", dtype=D))
    far = align(newton(4, 9, 1, 1e-3, "scratch", dtype=D), other)
    near = align(newton(4, 9, 1, 0.5, "scratch", dtype=D), other)
    torch.testing.assert_close(near, planted, rtol=0, atol=1e-7)
    assert (far - planted).norm() > 1e-2


def test_a_model_of_zeros_is_aligned_by_some_rotation_without_nan():
    model = newton(3, 9, 1, 1e-3, dtype=D)
    zeros = HookedRegressor(model.cfg).double()
    with torch.no_grad():
        for parameter in zeros.parameters():
            parameter.zero_()
    for pair in ((model, zeros), (zeros, model), (zeros, zeros)):
        assert_is_rotation(align(*pair))


def test_a_layer_of_zeros_hides_no_other():
    """The middle layer adds nothing in both models: what the others define is aligned all the same."""
    model = newton(3, 9, 1, 1e-3, "attention_only", dtype=D)
    with torch.no_grad():
        model.attentions[1].out_weight.zero_()
    other, _ = rotated(model)
    assert left(model, other, align(model, other)) < 1e-7


def test_what_stands_outside_of_the_layers_are_read_in_positions_and_read_out():
    model = HookedRegressor(PLAIN, 1)
    found = outer_vectors(model)
    weights = model.weights
    expected = torch.cat([weights["embed.W_pos"], weights["embed.W_E"], weights["unembed.W_U"].T]).double()
    assert found.dtype == D
    assert sorted(map(tuple, found.tolist())) == sorted(map(tuple, expected.tolist()))


def test_beside_a_code_a_read_in_is_padded_and_the_code_s_columns_are_vectors_too():
    model = HookedRegressor(RANDOM["with a code beside its tokens"], 1)
    found, W_E = outer_vectors(model), model.weights["embed.W_E"].double()
    torch.testing.assert_close(found[:4], torch.eye(12, dtype=D)[8:])
    torch.testing.assert_close(found[4 : 4 + len(W_E)], torch.nn.functional.pad(W_E, (0, 4)))


def test_maps_are_the_operators_and_the_linear_mlps_in_the_order_of_the_forward_pass():
    model = HookedRegressor(PLAIN, 1)
    first, mlp, second, last = layer_maps(model)
    assert isinstance(first, LayerOperator) and isinstance(second, LayerOperator)
    torch.testing.assert_close(second.W_Q, model.attentions[1].W_Q.double())
    assert isinstance(mlp, torch.Tensor) and isinstance(last, torch.Tensor)
    block = cast(MLP, model.blocks[0].mlp)
    torch.testing.assert_close(mlp, block.W_in.double() @ block.W_out.double())


def test_an_mlp_with_a_nonlinearity_is_no_map():
    assert [type(part) for part in layer_maps(HookedRegressor(FAMILIES["decoder"]))] == [LayerOperator] * 2


def test_layers_without_attention_have_no_operator():
    assert len(layer_maps(HookedRegressor(FAMILIES["sine"]))) == 1
    assert layer_maps(HookedRegressor(FAMILIES["lstm"])) == []


def test_a_model_in_slots_has_no_free_basis_but_may_be_aligned():
    """Nothing outside of its layers is a weight; the operators alone define the rotation up to that of x."""
    model = gradient_descent(3, 9, [0.3, 0.2], dtype=D)
    assert outer_vectors(model).shape == (0, 4)
    assert left_of_layers(model) < 1e-12


def left_of_layers(model):
    other, _ = rotated(model)
    R = align(model, other)
    (one, two) = (layer_maps(each)[0] for each in (model, other))
    assert isinstance(one, LayerOperator) and isinstance(two, LayerOperator)
    turned = LayerOperator(R.T @ one.W_Q, R.T @ one.W_K, R.T @ one.W_V, one.W_O @ R)
    return 1 - turned.inner(two) / (turned.norm * two.norm)


def test_the_architecture_must_be_the_same():
    one, other = (HookedRegressor(changed(PLAIN, n_layers=n)) for n in (1, 2))
    with pytest.raises(ValueError, match="zip"):
        align(one, other)
