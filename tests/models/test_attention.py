import itertools
from collections.abc import Callable

import pytest
import torch

from mesascope.models.attention import Attention, LinearAttention, ReluAttention, SoftmaxAttention, visible

ATTENTIONS: dict[str, Callable[..., Attention]] = {
    "softmax": SoftmaxAttention,
    "linear": LinearAttention,
    "relu": ReluAttention,
}

OPTIONS = list(itertools.product(ATTENTIONS, [True, False], [True, False], [True, False]))
IDS = [
    f"{kind}-{'causal' if causal else 'full'}-{'query_is_key' if key else 'query_asks'}-{'bias' if bias else 'plain'}"
    for kind, causal, key, bias in OPTIONS
]
D_MODEL, N_HEADS, D_HEAD = 6, 2, 4


@pytest.fixture(params=OPTIONS, ids=IDS)
def attention(request):
    kind, causal, query_is_key, bias = request.param
    torch.manual_seed(0)
    layer = ATTENTIONS[kind](D_MODEL, N_HEADS, D_HEAD, bias=bias, causal=causal, query_is_key=query_is_key).double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    return layer


@pytest.fixture
def resid():
    return torch.randn(3, 5, D_MODEL, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def by_loops(layer, resid):
    """Attention by its definition, one number at a time, from the per-head views."""
    kind = type(layer).__name__
    batch, n_tokens, _ = resid.shape
    biases = torch.zeros(3, N_HEADS, D_HEAD) if layer.qkv_bias is None else layer.qkv_bias.view(3, N_HEADS, D_HEAD)
    out = torch.zeros_like(resid) + (0 if layer.out_bias is None else layer.out_bias)
    for b, query, head in itertools.product(range(batch), range(n_tokens), range(N_HEADS)):
        q = resid[b, query] @ layer.W_Q[head] + biases[0, head]
        seen = range(query + 1 if layer.causal else n_tokens)
        keys = [key for key in seen if layer.query_is_key or key != n_tokens - 1]
        scores = torch.stack([q @ (resid[b, key] @ layer.W_K[head] + biases[1, head]) for key in keys])
        weights = {
            "SoftmaxAttention": (scores / D_HEAD**0.5).softmax(0),
            "LinearAttention": scores,
            "ReluAttention": scores.clamp(min=0),
        }[kind]
        for key, weight in zip(keys, weights, strict=True):
            v = resid[b, key] @ layer.W_V[head] + biases[2, head]
            out[b, query] += weight * (v @ layer.W_O[head])
    return out


def test_attention_is_its_definition(attention, resid):
    torch.testing.assert_close(attention(resid), by_loops(attention, resid))


@pytest.mark.parametrize("listener", ["transformer_lens", "pytorch"])
@pytest.mark.parametrize("point", ["hook_attn_scores", "hook_pattern", "hook_result"])
def test_listening_does_not_change_the_output(attention, resid, point, listener):
    expected, seen = attention(resid), []
    hook_point = getattr(attention, point)
    if listener == "transformer_lens":
        hook_point.add_hook(lambda value, hook: seen.append(value))
    else:
        hook_point.register_forward_hook(lambda module, args, output: seen.append(output))
    torch.testing.assert_close(attention(resid), expected)
    assert len(seen) == 1
    shape = (3, 5, N_HEADS, D_MODEL) if point == "hook_result" else (3, N_HEADS, 5, 5)
    assert seen[0].shape == shape


@pytest.mark.parametrize("point", ["hook_attn_scores", "hook_pattern", "hook_result", "hook_z", "hook_q", "hook_v"])
def test_a_hook_that_zeroes_its_value_changes_the_output(attention, resid, point):
    expected = attention(resid)
    getattr(attention, point).add_hook(lambda value, hook: torch.zeros_like(value))
    assert (attention(resid) - expected).abs().max() > 1e-3


def test_the_pattern_is_zero_where_nothing_is_visible_and_softmax_rows_sum_to_one(attention, resid):
    seen = []
    attention.hook_pattern.add_hook(lambda value, hook: seen.append(value))
    attention(resid)
    mask = visible(5, attention.causal, attention.query_is_key, torch.device("cpu"))
    assert (seen[0][..., ~mask] == 0).all()
    assert (seen[0][..., mask] != 0).all() or type(attention).__name__ == "ReluAttention"
    if type(attention).__name__ == "SoftmaxAttention":
        torch.testing.assert_close(seen[0].sum(-1), torch.ones(3, N_HEADS, 5, dtype=torch.float64))


def test_two_relu_heads_of_opposite_signs_are_a_linear_one(resid):
    """s = relu(s) − relu(−s), and only with the second value negated: relu(s) + relu(−s) is |s|."""
    torch.manual_seed(0)
    linear = LinearAttention(D_MODEL, 1, D_HEAD, bias=False, causal=False, query_is_key=True).double()
    pair = ReluAttention(D_MODEL, 2, D_HEAD, bias=False, causal=False, query_is_key=True).double()
    with torch.no_grad():
        for name in ("W_Q", "W_K", "W_V", "W_O"):
            torch.nn.init.normal_(getattr(linear, name))
            getattr(pair, name).copy_(getattr(linear, name))
        pair.W_Q[1] *= -1
    assert not torch.allclose(pair(resid), linear(resid))
    with torch.no_grad():
        pair.W_V[1] *= -1
    torch.testing.assert_close(pair(resid), linear(resid))


def test_the_per_head_results_sum_to_the_output_up_to_the_bias(attention, resid):
    seen = []
    attention.hook_result.add_hook(lambda value, hook: seen.append(value))
    bias = 0 if attention.out_bias is None else attention.out_bias
    torch.testing.assert_close(attention(resid), seen[0].sum(2) + bias)


def test_the_gradient_is_the_same_on_both_paths(attention, resid):
    def gradients():
        attention.zero_grad()
        attention(resid).square().sum().backward()
        return [parameter.grad.clone() for parameter in attention.parameters()]

    fused = gradients()
    attention.hook_pattern.add_hook(lambda value, hook: None)
    torch.testing.assert_close(gradients(), fused)


def test_weights_are_views_of_the_packed_parameters(attention):
    with torch.no_grad():
        for index, name in enumerate(["W_Q", "W_K", "W_V"]):
            getattr(attention, name)[1] = float(index + 5)
        attention.W_O[0] = 9.0
    assert attention.W_Q.untyped_storage().data_ptr() == attention.qkv_weight.untyped_storage().data_ptr()
    packed = attention.qkv_weight.detach().view(D_MODEL, 3, N_HEADS, D_HEAD)
    for index in range(3):
        assert (packed[:, index, 1] == index + 5).all() and (packed[:, index, 0] != index + 5).all()
    assert (attention.out_weight[:D_HEAD] == 9).all() and (attention.out_weight[D_HEAD:] != 9).all()


def test_the_factored_matrices_are_the_products_per_head(attention):
    for head in range(N_HEADS):
        QK, OV = attention.W_Q[head] @ attention.W_K[head].T, attention.W_V[head] @ attention.W_O[head]
        torch.testing.assert_close(attention.QK.AB[head], QK)
        torch.testing.assert_close(attention.OV.AB[head], OV)


def test_the_mask_by_hand():
    expected = {
        (False, True): [[1, 1, 1], [1, 1, 1], [1, 1, 1]],
        (True, True): [[1, 0, 0], [1, 1, 0], [1, 1, 1]],
        (False, False): [[1, 1, 0], [1, 1, 0], [1, 1, 0]],
        (True, False): [[1, 0, 0], [1, 1, 0], [1, 1, 0]],
    }
    for (causal, query_is_key), rows in expected.items():
        assert visible(3, causal, query_is_key, torch.device("cpu")).tolist() == torch.tensor(rows).bool().tolist()


@pytest.mark.parametrize("kind", ATTENTIONS)
@pytest.mark.parametrize("causal", [True, False])
def test_a_query_that_sees_no_key_gets_nothing_on_either_path(kind, causal, resid):
    layer = ATTENTIONS[kind](D_MODEL, N_HEADS, D_HEAD, bias=False, causal=causal, query_is_key=False).double()
    torch.nn.init.normal_(layer.qkv_weight)
    torch.nn.init.normal_(layer.out_weight)
    assert (layer(resid[:, :1]) == 0).all()
    layer.hook_pattern.add_hook(lambda value, hook: None)
    assert (layer(resid[:, :1]) == 0).all()
