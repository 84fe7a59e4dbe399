"""⟨T, T'⟩ by brute force on the formed T, and all that T does not see."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mesascope.models import HookedRegressor, RegressorConfig, regauge
from mesascope.models.attention import LinearAttention
from mesascope.probes import HeadOperator, LayerOperator, Slots, TokenBasis
from tests.models.families import FAMILIES, changed

D = torch.float64
LSA = RegressorConfig.linear_self_attention


def formed(operator):
    """T itself, [value, write, query, key]."""
    return torch.einsum("hvd,hdw,hqe,hke->vwqk", operator.W_V, operator.W_O, operator.W_Q, operator.W_K)


def random_operator(n_heads=2, d_head=3, query=5, key=4, value=6, write=3, seed=0):
    """Sides of different widths, so that none is taken for another."""
    rng = torch.Generator().manual_seed(seed)
    factors = [
        torch.randn(n_heads, *shape, dtype=D, generator=rng)
        for shape in ((query, d_head), (key, d_head), (value, d_head), (d_head, write))
    ]
    return LayerOperator(*factors)


def random_attention(cfg, seed=0):
    model = HookedRegressor(cfg, seed).double()
    return model.attentions[0]


@pytest.mark.parametrize(("mine", "theirs"), [(1, 1), (2, 2), (3, 1), (1, 4)])
def test_the_inner_product_is_that_of_the_formed_operators_whatever_the_heads(mine, theirs):
    one = random_operator(mine, d_head=3, seed=1)
    other = random_operator(theirs, d_head=2, seed=2)  # heads of another width too
    assert one.inner(other) == pytest.approx((formed(one) * formed(other)).sum().item(), rel=1e-12)
    assert one.inner(other) == pytest.approx(other.inner(one), rel=1e-12)
    assert one.norm == pytest.approx(formed(one).norm().item(), rel=1e-12)


def test_the_inner_product_is_the_sum_of_traces_over_pairs_of_heads():
    one, other = random_operator(seed=1), random_operator(seed=2)
    traces = sum(
        (one.OV.AB[h].mT @ other.OV.AB[g]).trace() * (one.QK.AB[h].mT @ other.QK.AB[g]).trace()
        for h in range(2)
        for g in range(2)
    )
    assert one.inner(other) == pytest.approx(float(traces), rel=1e-12)


def test_against_is_the_inner_product_with_each_pair_of_matrices():
    rng, operator = torch.Generator().manual_seed(3), random_operator()
    values = torch.randn(4, 6, 3, dtype=D, generator=rng)
    scores = torch.randn(2, 5, 4, dtype=D, generator=rng)
    expected = torch.einsum("vwqk,avw,bqk->ab", formed(operator), values, scores)
    torch.testing.assert_close(operator.against(values, scores), expected)


def test_a_layer_computes_what_its_operator_says():
    """A query h_q gains Σ_j (h_q QK h_jᵀ) h_j OV: the layer itself, run on random tokens."""
    attention = random_attention(LSA(3, 6, 1, n_heads=2))
    resid = torch.randn(2, 6, 4, dtype=D, generator=torch.Generator().manual_seed(0))
    keys = resid[:, :-1]  # the query is no key
    expected = torch.einsum("vwqk,bnq,bjk,bjv->bnw", formed(LayerOperator.of(attention)), resid, keys, keys)
    torch.testing.assert_close(attention(resid), expected)


def test_a_layer_s_operator_is_in_float64_and_carries_a_factor():
    attention = random_attention(LSA(3, 6, 1)).float()
    found = LayerOperator.of(attention, scale=0.25)
    assert {w.dtype for w in vars(found).values()} == {D} and not found.W_O.requires_grad
    assert found.norm == pytest.approx(0.25 * LayerOperator.of(attention).norm, rel=1e-14)


def test_one_head_is_the_part_of_it():
    operator = random_operator(n_heads=3)
    heads = [operator.head(index) for index in range(3)]
    assert all(isinstance(head, HeadOperator) and len(head.W_Q) == 1 for head in heads)
    torch.testing.assert_close(sum(formed(head) for head in heads), formed(operator))
    # Hence heads' inner products add up to the layer's square.
    assert sum(a.inner(b) for a in heads for b in heads) == pytest.approx(operator.norm**2, rel=1e-12)


@pytest.mark.parametrize("index", [-1, 3])
def test_there_is_no_head_without_weights(index):
    operator = random_operator(n_heads=3)
    try:
        found = operator.head(index)
    except (IndexError, ValueError):
        return
    assert found.norm > 0


@pytest.mark.parametrize("along", ["values", "scores"])
def test_splitting_one_head_into_two_changes_nothing(along):
    """A head's OV, or its QK, is shared by two heads: the sum over heads alone counts."""
    whole = random_operator(n_heads=1)
    part = torch.randn(1, 6, 3, dtype=D, generator=torch.Generator().manual_seed(4))
    if along == "values":
        first = replace(whole, W_V=whole.W_V - part)
        second = replace(whole, W_V=part)
    else:
        first = replace(whole, W_Q=whole.W_Q - part[:, :5])
        second = replace(whole, W_Q=part[:, :5])
    two = LayerOperator(*(torch.cat(pair) for pair in zip(vars(first).values(), vars(second).values(), strict=True)))
    other = random_operator(seed=5)
    assert two.norm == pytest.approx(whole.norm, rel=1e-12)
    assert two.inner(other) == pytest.approx(whole.inner(other), rel=1e-12)
    torch.testing.assert_close(formed(two), formed(whole))


def test_a_wider_head_whose_further_columns_are_zero_changes_nothing():
    whole = random_operator()
    pad = torch.nn.functional.pad
    wide = LayerOperator(
        pad(whole.W_Q, (0, 2)), pad(whole.W_K, (0, 2)), pad(whole.W_V, (0, 2)), pad(whole.W_O, (0, 0, 0, 2))
    )
    assert wide.inner(whole) == pytest.approx(whole.norm**2, rel=1e-14)


MODELS = {
    "one head": LSA(3, 6, 1),
    "three heads": LSA(3, 6, 1, n_heads=3),
    "relu": changed(FAMILIES["relu"], n_layers=1),
    "softmax": changed(FAMILIES["joint softmax"], n_layers=1),
}


@settings(max_examples=40)
@given(st.sampled_from(sorted(MODELS)), st.integers(0, 2**20))
def test_no_gauge_changes_an_operator(name, seed):
    """GL(d_head) twice for each head, the scale between its products, its place: T is blind to all."""
    model = HookedRegressor(MODELS[name], seed=1).double()
    other = regauge(model, seed)
    (mine,), (theirs,) = model.attentions, other.attentions
    assert not torch.allclose(mine.W_Q, theirs.W_Q)
    ours, gauged = LayerOperator.of(mine), LayerOperator.of(theirs)
    third = LayerOperator.of(random_attention(MODELS[name], seed=2))
    rng = torch.Generator().manual_seed(seed)
    values, scores = (torch.randn(3, 4, 4, dtype=D, generator=rng) for _ in range(2))
    # Maps of condition number ≤ 10 are undone up to 1e-14.
    scale = ours.norm * third.norm
    assert gauged.norm == pytest.approx(ours.norm, rel=1e-12)
    assert abs(gauged.inner(third) - ours.inner(third)) <= 1e-12 * scale
    assert gauged.inner(ours) == pytest.approx(ours.norm**2, rel=1e-12)
    difference = gauged.against(values, scores) - ours.against(values, scores)
    assert difference.abs().max() <= 1e-11 * ours.norm


def test_what_is_no_gauge_changes_it():
    """The control of the test above: a map between W_Q and W_V, or one on W_Q alone."""
    model = HookedRegressor(LSA(3, 6, 1), seed=1).double()
    ours = LayerOperator.of(model.attentions[0])
    G = torch.randn(4, 4, dtype=D, generator=torch.Generator().manual_seed(0))
    for name in ("W_Q", "W_K", "W_V", "W_O"):
        factor = getattr(ours, name)
        turned = replace(ours, **{name: factor @ G if name != "W_O" else G @ factor})
        cosine = turned.inner(ours) / (turned.norm * ours.norm)
        assert abs(cosine) < 0.9, name


def test_heads_that_cancel_leave_nothing():
    """Two heads of opposite sign: no sum over heads is above zero, and rounding makes no square negative."""
    one = random_operator(n_heads=1)
    both = LayerOperator(
        one.W_Q.repeat(2, 1, 1), one.W_K.repeat(2, 1, 1), one.W_V.repeat(2, 1, 1), torch.cat([one.W_O, -one.W_O])
    )
    assert 0 <= both.norm <= 1e-7 * one.norm  # the square root of rounding
    assert both.inner(random_operator(seed=5)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_between_slots_an_operator_is_the_formed_one_contracted_with_their_directions(seed):
    rng = torch.Generator().manual_seed(seed)
    operator = random_operator(query=5, key=5, value=5, write=5, seed=seed)
    sides = [
        Slots(tuple(("x", index) for index in range(n)), torch.randn(n, 5, dtype=D, generator=rng))
        for n in (2, 3, 4, 1)
    ]
    seen = operator.seen(TokenBasis(*sides))
    query, key, value, write = (side.directions for side in sides)
    expected = torch.einsum("vwqk,av,bw,cq,dk->abcd", formed(operator), value, write, query, key)
    torch.testing.assert_close(formed(seen), expected)


def test_seen_from_turned_slots_an_operator_is_what_it_was_before_its_stream_was_turned():
    """h → h R of the residual stream changes T, and not T between slots that turn with it."""
    operator = random_operator(query=5, key=5, value=5, write=5)
    rng = torch.Generator().manual_seed(0)
    R = torch.linalg.qr(torch.randn(5, 5, dtype=D, generator=rng))[0]
    names = tuple(("x", index) for index in range(3))
    held = torch.randn(3, 5, dtype=D, generator=rng)
    turned = LayerOperator(R.T @ operator.W_Q, R.T @ operator.W_K, R.T @ operator.W_V, operator.W_O @ R)
    before, after = (
        T.seen(TokenBasis.of(Slots(names, directions))) for T, directions in ((operator, held), (turned, held @ R))
    )
    torch.testing.assert_close(formed(before), formed(after))


def test_float32_slots_are_looked_through_in_float64():
    operator = random_operator(query=3, key=3, value=3, write=3)
    slots = Slots((("x", 0), ("x", 1), ("y", 0)), torch.eye(3))
    seen = operator.seen(TokenBasis(slots, slots, slots, slots))
    assert seen.W_Q.dtype == D
    torch.testing.assert_close(formed(seen), formed(operator))


def test_the_damped_layer_s_operator_is_what_it_adds():
    cfg = changed(LSA(3, 6, 1), damping=0.5)
    model = HookedRegressor(cfg, 1).double()
    (attention,) = model.attentions
    assert isinstance(attention, LinearAttention)
    rng = torch.Generator().manual_seed(0)
    xs, ys = torch.randn(4, 6, 3, dtype=D, generator=rng), torch.randn(4, 6, dtype=D, generator=rng)
    _, cache = model.run_with_cache(xs, ys)
    resid = cache["resid_pre", 0]
    keys = resid[:, :-1]
    T = formed(LayerOperator.of(attention, cfg.damping))
    torch.testing.assert_close(cache["attn_out", 0], torch.einsum("vwqk,bnq,bjk,bjv->bnw", T, resid, keys, keys))
