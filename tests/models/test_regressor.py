import pytest
import torch

from mesascope.models import HookedRegressor, LinearRegression, MesascopeError, RegressorConfig

DECODER = RegressorConfig(n_dims=3, n_points=6, n_layers=2, n_heads=2, d_model=8, d_head=4, d_mlp=16)
LSA = RegressorConfig.linear_self_attention(n_dims=3, n_points=6, n_layers=2)
VARIANTS = {
    "decoder": DECODER,
    "lsa": LSA,
    "attention-only": DECODER.model_copy(update={"d_mlp": 0}),
    "no norm": DECODER.model_copy(update={"layer_norm": False}),
    "no bias": DECODER.model_copy(update={"attention_bias": False, "mlp_bias": False}),
    "linear causal": DECODER.model_copy(update={"attention": "linear"}),
    "joint softmax": DECODER.model_copy(update={"layout": "joint", "causal": False, "query_is_key": False}),
    "lsa with two heads": RegressorConfig.linear_self_attention(3, 6, 2, n_heads=2),
}


def prompts_of(n_points=6, n_prompts=5):
    return LinearRegression(n_dims=3, n_points=n_points).sample(n_prompts, seed=0)


@pytest.fixture(params=list(VARIANTS.values()), ids=list(VARIANTS))
def model(request):
    return HookedRegressor(request.param, seed=1)


def test_there_is_one_prediction_for_each_read_point(model):
    prompts = prompts_of()
    preds = model(prompts.xs, prompts.ys)
    assert preds.shape == (5, len(model.read_points(6)))
    assert preds.isfinite().all() and preds.std() > 0
    assert model.read_positions(6) == model.cfg.tokens.read_positions(6)


def test_a_prompts_prediction_does_not_depend_on_its_batch(model):
    prompts = prompts_of()
    alone = torch.cat([model(part.xs, part.ys) for part in prompts.split(1)])
    torch.testing.assert_close(alone, model(prompts.xs, prompts.ys))


def test_the_last_y_is_never_read(model):
    prompts = prompts_of()
    changed = prompts.ys.clone()
    changed[:, -1] = 1e6
    assert torch.equal(model(prompts.xs, changed), model(prompts.xs, prompts.ys))
    changed[:, 0] += 1  # the control: other labels are read
    assert not torch.allclose(model(prompts.xs, changed), model(prompts.xs, prompts.ys))


def test_later_points_do_not_change_earlier_predictions_of_a_causal_model():
    for cfg in (DECODER, VARIANTS["linear causal"]):
        model, prompts = HookedRegressor(cfg), prompts_of()
        xs, ys = prompts.xs.clone(), prompts.ys.clone()
        xs[:, 4:], ys[:, 3:] = 7.0, -7.0  # y_3 is the first thing that the prediction at point 3 may not see
        before, after = model(prompts.xs, prompts.ys), model(xs, ys)
        torch.testing.assert_close(after[:, :4], before[:, :4])
        assert not torch.allclose(after[:, 4:], before[:, 4:])


def test_without_the_causal_mask_later_points_do_change_earlier_predictions():
    model, prompts = HookedRegressor(DECODER.model_copy(update={"causal": False})), prompts_of()
    changed = prompts.ys.clone()
    changed[:, -1] += 3
    assert not torch.allclose(model(prompts.xs, changed)[:, 0], model(prompts.xs, prompts.ys)[:, 0])


def test_linear_self_attention_ignores_the_order_of_context_points():
    model, prompts = HookedRegressor(LSA), prompts_of()
    order = torch.tensor([3, 0, 4, 2, 1, 5])
    shuffled = model(prompts.xs[:, order], prompts.ys[:, order])
    torch.testing.assert_close(shuffled, model(prompts.xs, prompts.ys))


def test_a_prompt_that_is_only_a_query_is_predicted_zero_by_linear_self_attention():
    prompts = prompts_of(n_points=1)
    assert (HookedRegressor(LSA)(prompts.xs, prompts.ys) == 0).all()


def test_a_decoder_reads_shorter_prompts_as_prefixes():
    model, prompts = HookedRegressor(DECODER), prompts_of()
    short = model(prompts.xs[:, :4], prompts.ys[:, :4])
    torch.testing.assert_close(short, model(prompts.xs, prompts.ys)[:, :4])


def test_weights_depend_on_the_seed_alone():
    first, same, other = (dict(HookedRegressor(DECODER, seed).named_parameters()) for seed in (0, 0, 1))
    for name, parameter in first.items():
        assert torch.equal(parameter, same[name])
        assert torch.equal(parameter, other[name]) == (parameter.ndim < 2)


def test_a_layers_weights_do_not_depend_on_how_many_layers_follow():
    shallow, deep = (HookedRegressor(DECODER.model_copy(update={"n_layers": n})) for n in (1, 3))
    assert torch.equal(shallow.attentions[0].qkv_weight, deep.attentions[0].qkv_weight)


def test_weights_have_the_announced_standard_deviation():
    cfg = DECODER.model_copy(update={"d_model": 64, "n_heads": 4, "d_head": 16, "d_mlp": 256, "n_layers": 3})
    model = HookedRegressor(cfg)
    weights = dict(model.named_parameters())
    expected = {
        "blocks.0.attn.qkv_weight": 0.5 / 64**0.5,
        "blocks.0.attn.out_weight": 0.5 / 64**0.5 / 6**0.5,
        "blocks.0.mlp.W_in": 0.5 / 64**0.5,
        "blocks.0.mlp.W_out": 0.5 / 256**0.5 / 6**0.5,
    }
    for name, std in expected.items():
        four_errors = 4 / (2 * weights[name].numel()) ** 0.5
        assert weights[name].std().item() == pytest.approx(std, rel=four_errors), name


def test_an_lstms_weights_have_the_standard_deviation_of_what_they_read():
    """PyTorch's LSTM acts on columns: its weights are [4 d, d], and the fan-in is d."""
    weights = HookedRegressor(RegressorConfig(n_dims=3, n_points=6, n_layers=1, d_model=64, block="lstm")).weights
    for name in ("blocks.0.lstm.weight_ih_l0", "blocks.0.lstm.weight_hh_l0"):
        assert weights[name].shape == (256, 64)
        assert weights[name].std().item() == pytest.approx(0.5 / 64**0.5, rel=4 / (2 * 256 * 64) ** 0.5)


def test_the_untrained_twin_has_the_same_architecture_and_dtype_and_other_weights():
    model = HookedRegressor(DECODER, seed=0).double()
    twin = model.untrained_twin(seed=3)
    assert twin.cfg == model.cfg and twin.seed == 3
    assert next(twin.parameters()).dtype == torch.float64
    assert not torch.equal(twin.attentions[0].qkv_weight, model.attentions[0].qkv_weight)
    fresh = HookedRegressor(DECODER, seed=3).double()
    assert torch.equal(twin.attentions[0].qkv_weight, fresh.attentions[0].qkv_weight)


def test_another_dimension_is_refused():
    prompts = LinearRegression(n_dims=4, n_points=6).sample(2, seed=0)
    with pytest.raises(MesascopeError, match="n_dims=4 but the model was built for n_dims=3"):
        HookedRegressor(DECODER)(prompts.xs, prompts.ys)


@pytest.mark.parametrize("d_out, shape", [(1, (5, 6, 2)), (2, (5, 6)), (2, (5, 6, 3)), (1, (5, 7))])
def test_ys_of_another_shape_are_refused(d_out, shape, unchecked_shapes):
    model = HookedRegressor(RegressorConfig.linear_self_attention(3, 6, 2, d_out=d_out))
    with pytest.raises(
        MesascopeError, match=rf"ys have shape \({', '.join(map(str, shape))}\) but .* d_y={d_out} numb"
    ):
        model(prompts_of().xs, torch.zeros(shape))


def test_several_outputs_are_read_from_as_many_slots():
    """An untrained model of two outputs, each of whose y-slots feeds the tokens and is read on its own."""
    model = HookedRegressor(RegressorConfig.linear_self_attention(3, 6, 2, d_out=2)).double()
    xs, ys = prompts_of().xs.double(), torch.randn(5, 6, 2, generator=torch.Generator().manual_seed(0)).double()
    preds, cache = model.run_with_cache(xs, ys)
    assert torch.equal(preds, -cache["resid_post", 1][:, -1:, 3:]) and preds.shape == (5, 1, 2)
    changed = ys.clone()
    changed[:, -1] += 1e6  # were it read, rounding could not hide it
    torch.testing.assert_close(model(xs, changed), preds)
    changed[:, 0, 1] += 1
    assert not torch.allclose(model(xs, changed), preds)


def test_more_points_than_positions_are_refused_where_there_are_positions():
    prompts = prompts_of(n_points=7)
    with pytest.raises(MesascopeError, match="n_points=7 but the model has positions for 6"):
        HookedRegressor(DECODER)(prompts.xs, prompts.ys)
    assert HookedRegressor(LSA)(prompts.xs, prompts.ys).isfinite().all()


@pytest.mark.parametrize("attention_bias, mlp_bias", [(True, True), (True, False), (False, True), (False, False)])
def test_biases_are_there_where_they_are_asked_for(attention_bias, mlp_bias):
    cfg = DECODER.model_copy(update={"attention_bias": attention_bias, "mlp_bias": mlp_bias})
    names = {name.rpartition("blocks.0.")[2] for name in HookedRegressor(cfg).weights}
    assert ({"attn.qkv_bias", "attn.out_bias"} <= names) == attention_bias
    assert ({"mlp.b_in", "mlp.b_out"} <= names) == mlp_bias
    assert ("attn.qkv_bias" in names, "mlp.b_out" in names) == (attention_bias, mlp_bias)


def test_an_init_scale_multiplies_every_matrix_and_nothing_else():
    """0.25 is half of the default 0.5, exactly in floating point."""
    usual, half = (HookedRegressor(cfg).weights for cfg in (DECODER, DECODER.model_copy(update={"init_scale": 0.25})))
    for name, weight in usual.items():
        assert torch.equal(half[name], weight if weight.ndim < 2 else weight / 2), name


@pytest.mark.parametrize("kinds", [("linear", "softmax"), ("softmax", "linear"), ("none", "softmax")], ids=str)
def test_each_layer_has_its_own_kind_of_attention(kinds):
    model = HookedRegressor(DECODER.model_copy(update={"attention": kinds}))
    names = {None: "none", "LinearAttention": "linear", "SoftmaxAttention": "softmax"}
    found = [None if block.attn is None else type(block.attn).__name__ for block in model.blocks]
    assert tuple(names[each] for each in found) == kinds
    assert model.QK.AB.shape[0] == model.OV.AB.shape[0] == 2 - kinds.count("none")


def test_without_attention_no_point_learns_from_another():
    """The negative control of everything in context: the prediction depends on its own x alone."""
    model, prompts = HookedRegressor(DECODER.model_copy(update={"attention": "none"})), prompts_of()
    assert not any("attn" in name for name in [*model.weights, *model.hook_dict])
    xs = prompts.xs.clone()
    xs[:, 0] += 3
    before, after = model(prompts.xs, prompts.ys), model(xs, prompts.ys + 3)
    torch.testing.assert_close(after[:, 1:], before[:, 1:])
    assert not torch.allclose(after[:, 0], before[:, 0])


def softmax_heads_by_loops(model, xs, ys):
    """Softmax self-attention on joint tokens, context keys alone, one token and head at a time."""
    out = []
    for x, y in zip(xs, ys, strict=True):
        tokens = [torch.cat([x[i], y[i : i + 1]]) for i in range(len(y) - 1)]
        tokens.append(torch.cat([x[-1], torch.zeros(1, dtype=x.dtype)]))
        for attention in model.attentions:
            updates = []
            for token in tokens:
                update = torch.zeros_like(token)
                for Q, K, OV in zip(attention.W_Q, attention.W_K, attention.OV.AB, strict=True):
                    scores = torch.stack([(token @ Q) @ (key @ K) for key in tokens[:-1]]) / Q.shape[1] ** 0.5
                    weights = scores.exp() / scores.exp().sum()
                    update = update + sum(w * (key @ OV) for w, key in zip(weights, tokens[:-1], strict=True))
                updates.append(update)
            tokens = [token + update for token, update in zip(tokens, updates, strict=True)]
        out.append(-tokens[-1][-1:])
    return torch.stack(out)


def test_softmax_heads_on_joint_tokens_are_their_loop():
    cfg = LSA.model_copy(update={"attention": "softmax", "n_heads": 2, "d_head": 4})
    model, prompts = HookedRegressor(cfg).double(), prompts_of().to(torch.float64)
    expected = softmax_heads_by_loops(model, prompts.xs, prompts.ys)
    torch.testing.assert_close(model(prompts.xs, prompts.ys), expected)
    with_query = HookedRegressor(cfg.model_copy(update={"query_is_key": True})).double()
    assert not torch.allclose(with_query(prompts.xs, prompts.ys), expected)
