"""Where tokens hold x and y, held against the tokens themselves; and what of a layer reaches a prediction."""

import pytest
import torch

from mesascope.models import (
    HookedRegressor,
    LinearRegression,
    MesascopeError,
    RegressorConfig,
    gradient_descent,
    newton,
)
from mesascope.probes import Slots, TokenBasis, reachable, token_basis
from tests.models.families import FAMILIES, changed

D = torch.float64
LSA = RegressorConfig.linear_self_attention
WIDE = changed(FAMILIES["sine"], n_layers=1, attention="linear", d_mlp=0)
"""Tokens behind a wide affine read-in, and no MLP."""


def held_of(cfg, n_prompts=4, seed=1):
    """A random model with biases and norms of its own, and prompts of its sizes."""
    model, rng = HookedRegressor(cfg, seed).double(), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=rng, dtype=D))
    xs = torch.randn(n_prompts, cfg.n_points, cfg.n_dims, generator=rng, dtype=D)
    ys = torch.randn(n_prompts, cfg.n_points, *([cfg.d_y] if cfg.d_y > 1 else []), generator=rng, dtype=D)
    return model, xs, ys


def names(*kinds):
    """("x", 3) is x of three coordinates."""
    return tuple((kind, index) for kind, n in kinds for index in range(n))


def test_slots_of_some_kinds_keep_their_directions():
    slots = Slots(names(("x", 2), ("y", 1), ("position", 2)), torch.arange(20.0).reshape(5, 4))
    found = slots.only("y", "position")
    assert found.names == names(("y", 1), ("position", 2))
    torch.testing.assert_close(found.directions, slots.directions[2:])
    fewer = slots.without(0)
    assert fewer.names == slots.names[1:]
    torch.testing.assert_close(fewer.directions, slots.directions[1:])
    assert slots.without(7).names == slots.names  # a coordinate that there is not


def test_a_basis_without_a_coordinate_lacks_it_on_all_sides():
    basis = token_basis(HookedRegressor(LSA(3, 6, 1)))
    fewer = basis.without(1)
    for side in (fewer.query, fewer.key, fewer.value, fewer.write):
        assert side.names == (("x", 0), ("x", 2), ("y", 0))
        torch.testing.assert_close(side.directions, torch.eye(4, dtype=D)[[0, 2, 3]])


def test_what_is_held_is_read_off_by_the_pseudoinverse():
    held = torch.randn(3, 5, dtype=D, generator=torch.Generator().manual_seed(0))
    basis = TokenBasis.of(Slots(names(("x", 2), ("y", 1)), held))
    torch.testing.assert_close(basis.query.directions @ basis.write.directions.T, torch.eye(3, dtype=D))
    assert basis.key is basis.query and basis.value is basis.query


@pytest.mark.parametrize("d_out", [1, 2])
def test_joint_tokens_that_are_the_stream_are_their_own_slots(d_out):
    basis = token_basis(HookedRegressor(LSA(3, 6, 2, d_out=d_out)))
    for side in (basis.query, basis.key, basis.value, basis.write):
        assert side.names == names(("x", 3), ("y", d_out))
        torch.testing.assert_close(side.directions, torch.eye(3 + d_out, dtype=D))


@pytest.mark.parametrize("name", ["lsa", "two heads", "joint softmax", "layer norm before slots", "separate"])
def test_slots_times_directions_are_the_tokens_in_the_stream(name):
    """The definition: a token's entries, each times its direction, add up to what the first layer reads."""
    model, xs, ys = held_of(FAMILIES[name])
    cfg, basis = model.cfg, token_basis(model)
    _, cache = model.run_with_cache(xs, ys, "blocks.0.hook_resid_pre")
    resid = cache["resid_pre", 0]
    tokens = cfg.tokens.tokens(xs, ys)
    codes = resid[..., cfg.d_model - cfg.d_position :]
    entries = torch.cat([tokens, codes], dim=-1)
    assert basis.value.names == names(("x", 3), ("y", 1), ("position", cfg.d_position))
    torch.testing.assert_close(entries @ basis.value.directions, resid)
    torch.testing.assert_close(resid @ basis.write.directions.T, entries)


W0 = torch.tensor([0.5, -1.0, 0.25], dtype=D)


def test_behind_a_read_in_of_its_own_width_slots_are_its_rows():
    """From w0 a token holds (x, y − w0·x): a unit of x_i is also −w0_i of the y-slot, where y is read."""
    model = gradient_descent(3, 9, [0.3], w0=W0, dtype=D)
    basis = token_basis(model)
    expected = torch.eye(4, dtype=D)
    expected[:3, 3] = -W0
    for side in (basis.query, basis.key, basis.value):
        assert side.names == names(("x", 3), ("y", 1))
        torch.testing.assert_close(side.directions, expected)
    torch.testing.assert_close(basis.write.directions, torch.eye(4, dtype=D))
    prompts = LinearRegression(n_dims=3, n_points=9).sample(5, seed=0, dtype=D)
    _, cache = model.run_with_cache(prompts.xs, prompts.ys, "blocks.0.hook_resid_pre")
    torch.testing.assert_close(model.cfg.tokens.tokens(prompts.xs, prompts.ys) @ expected, cache["resid_pre", 0])


def test_behind_a_wider_read_in_with_a_read_out_of_its_own_all_is_read_off_by_the_pseudoinverse():
    model = newton(3, 9, 1, 1e-3, dtype=D)
    basis = token_basis(model)
    torch.testing.assert_close(basis.query.directions, model.embed.W_E.detach())
    torch.testing.assert_close(basis.query.directions @ basis.write.directions.T, torch.eye(4, dtype=D))


def test_learned_features_are_slots_where_the_read_out_is_one():
    """The sine preset: 39 features, and the slot that is read; x itself is nowhere."""
    cfg = changed(FAMILIES["sine"], d_model=40, d_head=40)
    basis = token_basis(HookedRegressor(cfg))
    for side in (basis.query, basis.key, basis.value, basis.write):
        assert side.names == names(("x", 39), ("y", 1))
        torch.testing.assert_close(side.directions, torch.eye(40, dtype=D))


def test_learned_features_leave_a_slot_for_each_output():
    model = HookedRegressor(changed(WIDE, d_out=2))
    assert model.cfg.d_y == 2 and model.cfg.y_slot == 6
    assert token_basis(model).write.names == names(("x", 6), ("y", 2))


def test_a_position_code_beside_the_tokens_has_slots_of_its_own():
    basis = token_basis(HookedRegressor(FAMILIES["separate"]))
    assert basis.query.only("position").names == names(("position", 4))
    torch.testing.assert_close(basis.query.only("position").directions, torch.eye(8, dtype=D)[4:])


def test_directions_are_float64_where_weights_are_float32():
    basis = token_basis(gradient_descent(3, 9, [0.3], w0=W0))
    assert {side.directions.dtype for side in vars(basis).values()} == {D}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("decoder", r"tokens of this model \(interleaved, transformer\) hold no x beside its y.*fit_token_bases"),
        ("lstm", r"\(interleaved, lstm\)"),
        ("induction", r"\(sequence, transformer\)"),
        ("scratch", r"\(scratch, transformer\)"),
    ],
)
def test_tokens_that_hold_no_x_beside_its_y_have_no_slots(name, said):
    with pytest.raises(MesascopeError, match=said):
        token_basis(HookedRegressor(FAMILIES[name]))


def test_an_lstm_on_joint_tokens_has_none_either():
    with pytest.raises(MesascopeError, match=r"\(joint, lstm\)"):
        token_basis(HookedRegressor(changed(FAMILIES["lstm"], layout="joint")))


def test_a_read_in_that_merges_slots_is_refused():
    model = gradient_descent(3, 9, [0.3], w0=W0)
    with torch.no_grad():
        model.embed.W_E[0] = model.embed.W_E[1]
    with pytest.raises(MesascopeError, match=r"rank 3 for 4 slots of a token.*fit_token_bases"):
        token_basis(model)


def test_a_read_in_that_is_too_narrow_merges_slots():
    cfg = changed(WIDE, n_dims=3, d_model=3, d_head=3)
    with pytest.raises(MesascopeError, match="rank 3 for 4 slots"):
        token_basis(HookedRegressor(cfg))


MLP_BEHIND = changed(LSA(2, 6, 1), d_mlp=5)
MLP_BEFORE = changed(LSA(2, 6, 2), d_mlp=(5, 0), attention=("none", "linear"))
X, Y = names(("x", 2)), names(("y", 1))
RULES = {
    # config and layer: the slots of queries and of writes that count
    "the only layer": (LSA(2, 6, 1), 0, X, Y),
    "the only layer, two outputs": (LSA(2, 6, 1, d_out=2), 0, X, names(("y", 2))),
    "the first of two": (LSA(2, 6, 2), 0, X + Y, X + Y),
    "the last of two": (LSA(2, 6, 2), 1, X + Y, Y),
    "the last of two that are tied": (LSA(2, 6, 2, tied=True), 1, X + Y, X + Y),
    "one that is tied to nothing": (LSA(2, 6, 1, tied=True), 0, X, Y),
    "an MLP behind the only attention": (MLP_BEHIND, 0, X, X + Y),
    "an MLP before the only attention": (MLP_BEFORE, 1, X + Y, Y),
    "a layer of nothing behind": (changed(LSA(2, 6, 2), attention=("linear", "none")), 0, X, Y),
    "an MLP in a layer of its own behind": (
        changed(LSA(2, 6, 2), attention=("linear", "none"), d_mlp=(0, 5)),
        0,
        X,
        X + Y,
    ),
    "an MLP between": (changed(LSA(2, 6, 2), d_mlp=(5, 0)), 1, X + Y, Y),
    "separate tokens, the last": (FAMILIES["separate"], 1, names(("x", 3), ("y", 1), ("position", 4)), Y),
    "separate tokens, the only": (
        changed(FAMILIES["separate"], n_layers=1, attention="linear"),
        0,
        names(("x", 3), ("position", 4)),
        Y,
    ),
    "learned features": (FAMILIES["sine"], 1, names(("x", 7), ("y", 1)), Y),
}


@pytest.mark.parametrize("name", RULES)
def test_what_can_reach_the_prediction(name):
    cfg, layer, query, write = RULES[name]
    model = HookedRegressor(cfg)
    basis = token_basis(model)
    found = reachable(basis, model, layer)
    assert (found.query.names, found.write.names) == (query, write)
    # What keys and values hold always counts: the points of context hold all of it.
    assert (found.key, found.value) == (basis.key, basis.value)


SIDES = {"query": "W_Q", "key": "W_K", "value": "W_V", "write": "W_O"}


def moved_by(model, layer, side, slot, basis, xs, ys, seed=0):
    """How far predictions move when a layer does something else with one slot on one side, and only with that."""
    slots = getattr(basis, side)
    # The dual direction: orthogonal to all other slots of that side.
    along = torch.linalg.pinv(slots.directions)[:, slots.names.index(slot)]
    other = HookedRegressor(model.cfg, model.seed).double()
    other.load_state_dict(model.state_dict())
    weight = getattr(other.blocks[layer].attn, SIDES[side])
    random = torch.randn(weight.shape[0], model.cfg.d_head, dtype=D, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        change = random[:, None, :] * along[:, None]
        weight.add_(change.mT if side == "write" else change)
        return (other(xs, ys) - model(xs, ys)).abs().max().item()


def assert_masked_slots_alone_change_nothing(cfg):
    model, xs, ys = held_of(cfg)
    basis = token_basis(model)
    for layer, block in enumerate(model.blocks):
        if block.attn is None:
            continue
        kept = reachable(basis, model, layer)
        for side in SIDES:
            for slot in getattr(basis, side).names:
                moved = moved_by(model, layer, side, slot, basis, xs, ys)
                if slot in getattr(kept, side).names:
                    assert moved > 1e-6, f"{side} {slot} of layer {layer} was kept, but changes nothing"
                else:
                    assert moved < 1e-10, f"{side} {slot} of layer {layer} was masked, but moves predictions by {moved}"


@pytest.mark.parametrize("name", [name for name in RULES if name != "learned features"])
def test_masked_slots_change_no_prediction_and_kept_ones_do(name):
    assert_masked_slots_alone_change_nothing(RULES[name][0])


@pytest.mark.parametrize(
    "cfg",
    [
        pytest.param(FAMILIES["joint softmax"], id="softmax"),
        pytest.param(changed(FAMILIES["joint softmax"], n_layers=1), id="softmax, one layer"),
        pytest.param(FAMILIES["layer norm before slots"], id="norms, two layers"),
        pytest.param(FAMILIES["damped and clipped"], id="damped and clipped"),
        pytest.param(FAMILIES["sine"], id="learned features behind an MLP"),
        pytest.param(changed(LSA(2, 6, 2), read_in="affine"), id="a read-in, two layers"),
    ],
)
def test_masked_slots_change_no_prediction_in_other_architectures(cfg):
    assert_masked_slots_alone_change_nothing(cfg)


@pytest.mark.parametrize(
    "cfg",
    [
        pytest.param(changed(LSA(2, 6, 1), layer_norm=True), id="behind a norm, which centres"),
        pytest.param(changed(LSA(2, 6, 1), read_in="affine", positions="learned"), id="with positions added"),
        pytest.param(changed(LSA(2, 6, 1), read_in="affine"), id="with a bias of the read-in"),
        pytest.param(WIDE, id="with features of x in it"),
    ],
)
def test_the_query_s_y_is_masked_only_where_it_is_zero(cfg):
    assert_masked_slots_alone_change_nothing(cfg)


def test_of_what_the_last_layer_writes_a_learned_read_out_reads_one_direction():
    """In the sign of a slot that holds y − ŷ; layers before it may be read in any."""
    model = HookedRegressor(changed(LSA(2, 6, 2), read_in="affine", read_out="affine"))
    basis = token_basis(model)
    assert reachable(basis, model, 0).write == basis.write
    last = reachable(basis, model, 1).write
    assert last.names == names(("y", 1))
    torch.testing.assert_close(last.directions, -model.weights["unembed.W_U"].double().T)


@pytest.mark.parametrize("name", ["the only layer", "the last of two", "the first of two"])
def test_random_weights_where_nothing_reaches_leave_the_model_as_it_is(name):
    """All masked entries of T at once: both products, as matrices."""
    cfg, layer, query, write = RULES[name]
    model, xs, ys = held_of(cfg)
    (attention,) = model.attentions[layer : layer + 1]
    n, rng = cfg.d_model, torch.Generator().manual_seed(2)
    before = model(xs, ys)
    rows = [index for index, slot in enumerate(token_basis(model).query.names) if slot not in query]
    cols = [index for index, slot in enumerate(token_basis(model).write.names) if slot not in write]
    with torch.no_grad():
        attention.W_Q[:, rows] = torch.randn(1, len(rows), n, dtype=D, generator=rng)
        attention.W_O[:, :, cols] = torch.randn(1, n, len(cols), dtype=D, generator=rng)
    # Bit by bit, but for the order of sums.
    torch.testing.assert_close(model(xs, ys), before, rtol=1e-13, atol=1e-13)


# --- duals ---


def test_a_dual_reads_each_slot_and_none_of_the_others():
    directions = torch.randn(4, 7, dtype=D, generator=torch.Generator().manual_seed(0))
    every = Slots(names(("x", 3), ("y", 1)), directions)
    for kind, rows in (("x", slice(0, 3)), ("y", slice(3, 4))):
        dual = every.only(kind).dual(every)
        torch.testing.assert_close(directions @ dual, torch.eye(4, dtype=D)[:, rows])


def test_directions_that_are_none_of_the_others_stand_alone():
    """As a learned read-out's, whose length counts."""
    every = Slots(names(("x", 2), ("y", 1)), torch.eye(3, dtype=D))
    read = Slots(names(("y", 1)), torch.tensor([[0.0, 0.0, -3.0]], dtype=D))
    torch.testing.assert_close(read.dual(every), torch.tensor([[0.0], [0.0], [-1 / 3]], dtype=D))


def test_slots_stand_at_their_places():
    slots = Slots(names(("x", 2), ("y", 1)), torch.eye(3, dtype=D))
    assert slots.places("x") == {0: 0, 1: 1} and slots.places("y") == {0: 2} and slots.places("position") == {}
