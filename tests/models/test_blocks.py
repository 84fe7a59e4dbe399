import pytest
import torch
import torch.nn.functional as F

from mesascope.models import RegressorConfig
from mesascope.models.blocks import BLOCKS, MLP, LSTMBlock, TransformerBlock

CFG = RegressorConfig(n_dims=3, n_points=6, n_layers=2, n_heads=2, d_model=8, d_mlp=16)


def resid_of(seed=0):
    return torch.randn(3, 5, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def randomised(module, std=0.5):
    rng = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(std * torch.randn(parameter.shape, generator=rng))
    return module.double()


def block_of(layer=0, **fields):
    return randomised(TransformerBlock(RegressorConfig.model_validate(CFG.model_dump() | fields), layer))


@pytest.mark.parametrize("bias", [True, False])
def test_the_mlp_is_its_formula_with_gpt2s_gelu(bias):
    mlp, h = randomised(MLP(8, 16, bias)), resid_of()
    pre = h @ mlp.W_in + (mlp.b_in if bias else 0)
    gelu = 0.5 * pre * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (pre + 0.044715 * pre**3)))
    torch.testing.assert_close(mlp(h), gelu @ mlp.W_out + (mlp.b_out if bias else 0))
    assert (mlp.b_in is None) == (mlp.b_out is None) == (not bias)


@pytest.mark.parametrize("bias", [True, False])
def test_an_mlp_without_activation_is_linear(bias):
    mlp, h = randomised(MLP(8, 16, bias, "linear")), resid_of()
    expected = (h @ mlp.W_in + (mlp.b_in if bias else 0)) @ mlp.W_out + (mlp.b_out if bias else 0)
    torch.testing.assert_close(mlp(h), expected)


@pytest.mark.parametrize("activation", ["gelu", "linear"])
def test_a_blocks_mlp_has_the_activation_of_the_config(activation):
    assert block_of(mlp_activation=activation).mlp.activation == activation


@pytest.mark.parametrize("layer_norm", [True, False])
@pytest.mark.parametrize("damping", [1.0, 0.3])
@pytest.mark.parametrize("clip", [None, 0.8])
@pytest.mark.parametrize("d_mlp", [0, 16])
@pytest.mark.parametrize("attention", ["none", "linear", "softmax"])
def test_a_block_is_its_formula(layer_norm, damping, clip, d_mlp, attention):
    """h ← clip(h + damping · attn(LN h)), then the same with the MLP, where there are such."""
    block = block_of(layer_norm=layer_norm, damping=damping, clip=clip, d_mlp=d_mlp, attention=attention)
    resid = resid_of()

    def bounded(h):
        return h if clip is None else torch.minimum(torch.maximum(h, torch.tensor(-clip)), torch.tensor(clip))

    def normed(norm, h):
        return F.layer_norm(h, (8,), norm.w, norm.b) if layer_norm else h

    expected = resid
    if attention != "none":
        expected = bounded(expected + damping * block.attn(normed(block.ln1, expected)))
    if d_mlp:
        expected = bounded(expected + damping * block.mlp(normed(block.ln2, expected)))
    torch.testing.assert_close(block(resid), expected)
    if clip is not None and (d_mlp or attention != "none"):
        assert block(resid).abs().max() == clip < resid.abs().max()  # the bound is reached, so it is tested


def test_damping_and_clip_by_hand():
    """Two tokens in one dimension of features: the query (2, 0) sees (3, 5), all maps are 1."""
    cfg = RegressorConfig.linear_self_attention(1, 2, 1).model_copy(update={"damping": 0.1, "clip": 6.5})
    block = TransformerBlock(cfg, 0).double()
    assert block.attn is not None
    with torch.no_grad():
        for W in (block.attn.W_Q, block.attn.W_K, block.attn.W_V, block.attn.W_O):
            W[0] = torch.eye(2)
    tokens = torch.tensor([[[3.0, 5.0], [2.0, 0.0]]]).double()
    # context: score 34, 3 + 10.2 and 5 + 17 are clipped; query: score 6, 2 + .1·6·3 = 3.8 and .1·6·5 = 3.
    torch.testing.assert_close(block(tokens), torch.tensor([[[6.5, 6.5], [3.8, 3.0]]]).double())


@pytest.mark.parametrize("point, name", [("hook_attn_out", "attn"), ("hook_mlp_out", "mlp")])
def test_what_a_hook_says_is_added_is_added_damped(point, name):
    block, resid, seen = block_of(damping=0.3), resid_of(), {}
    for each in ("hook_resid_mid", "hook_resid_pre", "hook_resid_post", point):
        getattr(block, each).register_forward_hook(lambda m, args, out, each=each: seen.update({each: out}))
    block(resid)
    before, after = ("pre", "mid") if name == "attn" else ("mid", "post")
    torch.testing.assert_close(seen[f"hook_resid_{after}"] - seen[f"hook_resid_{before}"], seen[point])


def test_each_layer_has_the_mlp_and_attention_of_its_place():
    cfg = RegressorConfig.model_validate(CFG.model_dump() | dict(d_mlp=(16, 0), attention=("none", "linear")))
    first, second = (TransformerBlock(cfg, layer) for layer in range(2))
    assert first.attn is None and first.mlp is not None and first.mlp.W_in.shape == (8, 16)
    assert second.attn is not None and second.mlp is None
    assert not hasattr(first, "hook_attn_out") and not hasattr(second, "hook_resid_mid")


def test_a_block_with_neither_attention_nor_mlp_does_nothing():
    block, resid = block_of(attention="none", d_mlp=0), resid_of()
    assert torch.equal(block(resid), resid) and list(block.parameters()) == []


LSTM = RegressorConfig(n_dims=3, n_points=6, n_layers=3, d_model=8, block="lstm")


def test_stacked_lstm_blocks_are_pytorchs_lstm():
    blocks, h = [randomised(LSTMBlock(LSTM, layer)) for layer in range(3)], resid_of()
    for shift, block in enumerate(blocks):
        with torch.no_grad():
            for parameter in block.parameters():
                parameter += 0.1 * shift
    theirs = torch.nn.LSTM(8, 8, num_layers=3, batch_first=True).double()
    with torch.no_grad():
        for layer, block in enumerate(blocks):
            for name, parameter in block.lstm.named_parameters():
                getattr(theirs, name.replace("l0", f"l{layer}")).copy_(parameter)
    ours = h
    for block in blocks:
        ours = block(ours)
    torch.testing.assert_close(ours, theirs(h)[0])


def test_an_lstm_block_is_causal():
    block, h = randomised(LSTMBlock(LSTM, 0)), resid_of()
    later = h.clone()
    later[:, 3:] += 1
    assert torch.equal(block(later)[:, :3], block(h)[:, :3])
    assert not torch.allclose(block(later)[:, 3:], block(h)[:, 3:])


def test_an_lstm_starts_with_an_open_forget_gate_and_no_other_bias():
    biases = dict(LSTMBlock(LSTM, 0).lstm.named_parameters())
    assert (biases["bias_hh_l0"] == 0).all()
    input_gate, forget_gate, cell, output_gate = biases["bias_ih_l0"].chunk(4)
    assert (forget_gate == 1).all()
    assert all((gate == 0).all() for gate in (input_gate, cell, output_gate))


def test_an_lstm_block_is_hooked_where_it_reads_and_writes():
    block, h = randomised(LSTMBlock(LSTM, 0)), resid_of()
    expected = block(2 * h)
    block.hook_resid_pre.add_hook(lambda value, hook: 2 * value)
    torch.testing.assert_close(block(h), expected)
    block.hook_resid_post.add_hook(lambda value, hook: -value)
    torch.testing.assert_close(block(h), -expected)


def test_blocks_are_known_by_their_name_in_a_config():
    assert BLOCKS == {"transformer": TransformerBlock, "lstm": LSTMBlock}
