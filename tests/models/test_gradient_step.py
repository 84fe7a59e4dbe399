import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mesascope.models import GradientDescent, HookedRegressor, LinearRegression, RegressorConfig
from mesascope.models.attention import LinearAttention
from mesascope.models.gradient_step import GradientStep

D_MODEL, N_CONTEXT = 7, 5


def layer_of(eta=0.7, y_slot=D_MODEL - 1, causal=False, query_is_key=False):
    layer = GradientStep(D_MODEL, y_slot, N_CONTEXT, causal, query_is_key).double()
    with torch.no_grad():
        layer.eta.fill_(eta)
    return layer


def resid_of(seed=0, n_tokens=N_CONTEXT + 1):
    return torch.randn(3, n_tokens, D_MODEL, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@given(st.integers(0, 2**20), st.floats(-3, 3), st.integers(0, D_MODEL - 1))
def test_the_query_falls_by_the_prediction_of_one_explicit_gradient_step(seed, eta, y_slot):
    """W = 0 − η ∇ of 1/(2n) Σ (W·m_j − y_j)², applied to the query's features: von Oswald's proposition 1."""
    resid = resid_of(seed)
    features = [i for i in range(D_MODEL) if i != y_slot]
    M, y = resid[:, :-1, features], resid[:, :-1, y_slot]
    W = torch.zeros(3, D_MODEL - 1, dtype=torch.float64, requires_grad=True)
    loss = (torch.einsum("bjd,bd->bj", M, W) - y).square().sum() / (2 * N_CONTEXT)
    (gradient,) = torch.autograd.grad(loss, W)
    predicted = torch.einsum("bd,bd->b", -eta * gradient, resid[:, -1, features])
    out = layer_of(eta, y_slot)(resid)
    torch.testing.assert_close(-out[:, -1, y_slot], predicted, rtol=1e-12, atol=1e-12)
    assert (out[..., features] == 0).all()


def test_on_joint_tokens_it_is_the_reference_learners_step():
    cfg = RegressorConfig.linear_self_attention(3, 6, 1).model_copy(update={"attention": "gradient_step"})
    model = HookedRegressor(cfg).double()
    prompts = LinearRegression(n_dims=3, n_points=6).sample(9, seed=0, dtype=torch.float64)
    with torch.no_grad():
        model.get_parameter("blocks.0.attn.eta").fill_(0.3)
    expected = GradientDescent(1, 0.3).predict(prompts)[:, -1:]
    torch.testing.assert_close(model(prompts.xs, prompts.ys), expected, rtol=1e-12, atol=1e-12)


def test_several_outputs_each_take_their_own_step():
    cfg = RegressorConfig.linear_self_attention(3, 6, 1, d_out=2).model_copy(update={"attention": "gradient_step"})
    one = RegressorConfig.linear_self_attention(3, 6, 1).model_copy(update={"attention": "gradient_step"})
    both, alone = HookedRegressor(cfg).double(), HookedRegressor(one).double()
    xs = LinearRegression(n_dims=3, n_points=6).sample(9, seed=0, dtype=torch.float64).xs
    ys = torch.randn(9, 6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = torch.stack([alone(xs, ys[..., index]) for index in range(2)], dim=-1)
    torch.testing.assert_close(both(xs, ys), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("query_is_key", [True, False])
def test_a_trained_layer_with_these_weights_computes_the_same(causal, query_is_key):
    frozen, resid = layer_of(causal=causal, query_is_key=query_is_key), resid_of()
    free = LinearAttention(D_MODEL, 1, D_MODEL, bias=False, causal=causal, query_is_key=query_is_key).double()
    with torch.no_grad():
        for name in ("W_Q", "W_K", "W_V", "W_O"):
            getattr(free, name).copy_(getattr(frozen, name))
    torch.testing.assert_close(frozen(resid), free(resid))
    frozen.hook_pattern.add_hook(lambda value, hook: None)
    torch.testing.assert_close(frozen(resid), free(resid))


def test_weights_have_transformer_lens_shapes_and_are_views_of_the_packed_ones():
    layer = layer_of(eta=2.0, y_slot=3)
    features = torch.eye(D_MODEL).double()
    features[3, 3] = 0
    assert torch.equal(layer.W_Q[0], features) and torch.equal(layer.W_K[0], features)
    only_y = torch.eye(D_MODEL).double() - features
    assert torch.equal(layer.W_V[0], only_y) and torch.equal(layer.W_O[0], -2.0 / N_CONTEXT * only_y)
    for W in (layer.W_Q, layer.W_K, layer.W_V, layer.W_O):
        assert W.shape == (1, D_MODEL, D_MODEL)
    packed = layer.qkv_weight.untyped_storage().data_ptr()
    assert all(W.untyped_storage().data_ptr() == packed for W in (layer.W_Q, layer.W_K, layer.W_V))


def test_eta_alone_is_learned_and_saved():
    layer = layer_of()
    assert [name for name, _ in layer.named_parameters()] == ["eta"]
    assert list(layer.state_dict()) == ["eta"]
    assert layer.qkv_bias is None and layer.out_bias is None


@pytest.mark.parametrize("eta", [-1.0, 0.4])
def test_the_gradient_of_eta_is_its_finite_difference(eta):
    resid = resid_of()

    def loss(eta):
        return (layer_of(eta)(resid)[:, -1, -1] - 1).square().sum()

    layer = layer_of(eta)
    (layer(resid)[:, -1, -1] - 1).square().sum().backward()
    # The loss is a parabola in η, so that the central difference is exact to rounding.
    difference = (loss(eta + 1e-3) - loss(eta - 1e-3)) / 2e-3
    assert layer.eta.grad.item() == pytest.approx(difference.item(), rel=1e-8)


def test_the_step_is_that_of_the_configs_y_slot_and_context():
    cfg = RegressorConfig(
        n_dims=1,
        n_points=6,
        n_layers=1,
        d_model=9,
        attention="gradient_step",
        positions="sinusoidal",
        d_position=2,
        layout="joint",
        causal=False,
        query_is_key=False,
    )
    layer = GradientStep.of(cfg)
    assert (layer.y_slot, layer.n_context, layer.causal, layer.query_is_key) == (6, 5, False, False)


def test_casting_and_twinning_keep_the_step():
    cfg = RegressorConfig.linear_self_attention(3, 6, 1).model_copy(update={"attention": "gradient_step"})
    twin = HookedRegressor(cfg).double().untrained_twin(seed=9)
    assert twin.attentions[0].W_O.dtype == twin.attentions[0].W_Q.dtype == torch.float64
    assert twin.attentions[0].eta == 1
