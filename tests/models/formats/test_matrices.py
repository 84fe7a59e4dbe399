"""Plain matrices against independent transcriptions of the papers' formulas, in numpy and float64."""

import numpy as np
import pytest
import torch

from mesascope.models import LinearRegression, load
from mesascope.models.inputs import Uniform

N_DIMS, N_POINTS = 3, 8
D = N_DIMS + 1
TASK = LinearRegression(n_dims=N_DIMS, n_points=N_POINTS)
PROMPTS = TASK.sample(16, seed=0)


def tokens():
    """(x_i, y_i), and (x_q, 0) at the end."""
    e = np.concatenate([PROMPTS.xs.numpy(), PROMPTS.ys.numpy()[..., None]], axis=2).astype(np.float64)
    e[:, -1, -1] = 0
    return e


def von_oswald(layers, damping=1.0, clip=np.inf):
    """h ← h + damping·Σ_heads Σ_j P V h_j (K h_j)·(Q h), layers of heads of (Q, K, V, P) that act on columns."""
    predictions = []
    for prompt in tokens():
        h = list(prompt)
        for heads in layers:
            context, new = h[:-1], []
            for token in h:
                add = sum(P @ V @ k * ((K @ k) @ (Q @ token)) for Q, K, V, P in heads for k in context)
                new.append(np.clip(token + damping * add, -clip, clip))
            h = new
        predictions.append(-h[-1][-1])
    return np.array(predictions)


def ahn(allparam):
    """The forward pass of their class: Z + Σ_heads attention(P, Q, Z), tokens in rows, divided by N."""
    Z = tokens()
    N = Z.shape[1] - 1
    A = np.diag([1.0] * N + [0.0])
    for layer in allparam:
        update = np.zeros_like(Z)
        for P, Q in layer:
            P_full, Q_full = np.zeros((D, D)), np.zeros((D, D))
            P_full[:-1, :-1], P_full[-1, -1], Q_full[:-1, :-1] = P, 1, Q
            for b, z in enumerate(Z):
                update[b] += (z @ Q_full @ z.T) @ A @ (z @ P_full.T) / N
        Z = Z + update
    return -Z[:, -1, -1]


def factors(n_layers=2, n_heads=2, d_key=D, d_value=D, seed=0):
    """W_Q, W_K, W_V, P in the convention of columns."""
    rng = np.random.default_rng(seed)
    widths = {"W_Q": (d_key, D), "W_K": (d_key, D), "W_V": (d_value, D), "P": (D, d_value)}
    return {name: rng.normal(size=(n_layers, n_heads, *w)) * 0.2 for name, w in widths.items()}


def heads(arrays, n_layers=None):
    """The same as layers of heads."""
    Q, K, V, P = (arrays[name] for name in ("W_Q", "W_K", "W_V", "P"))
    stored = [[(Q[la, h], K[la, h], V[la, h], P[la, h]) for h in range(Q.shape[1])] for la in range(len(Q))]
    return stored if n_layers is None else stored * n_layers


def products(arrays):
    return {
        "W_KQ": arrays["W_K"].swapaxes(-1, -2) @ arrays["W_Q"],
        "W_PV": arrays["P"] @ arrays["W_V"],
    }


@pytest.fixture
def saved(tmp_path):
    def save(**arrays):
        np.savez(tmp_path / "weights.npz", **arrays)
        return tmp_path / "weights.npz"

    return save


def assert_predicts(path, expected):
    assert expected.std() > 0.02
    predicted = load(path).model(PROMPTS.xs, PROMPTS.ys)[:, 0].detach().numpy()
    np.testing.assert_allclose(predicted, expected, rtol=1e-5, atol=1e-5)  # float32 through a few layers


@pytest.mark.parametrize("widths", [(D, D), (2, 2), (2, 3), (3, 1)], ids=str)
@pytest.mark.parametrize("n_layers, n_heads", [(1, 1), (2, 1), (1, 3), (3, 2)])
def test_factors_predict_what_the_formula_does(saved, n_layers, n_heads, widths):
    arrays = factors(n_layers, n_heads, *widths)
    path = saved(**arrays)
    assert_predicts(path, von_oswald(heads(arrays)))
    cfg = load(path).model.cfg
    assert (cfg.n_layers, cfg.n_heads, cfg.d_head, cfg.d_model) == (n_layers, n_heads, max(widths), D)


@pytest.mark.parametrize("n_layers, n_heads", [(1, 1), (3, 2)])
def test_products_predict_what_their_factors_do(saved, n_layers, n_heads):
    arrays = factors(n_layers, n_heads, d_key=2, d_value=2)  # so the products are rank-deficient
    assert_predicts(saved(**products(arrays)), von_oswald(heads(arrays)))


def test_zero_products_predict_zero(saved):
    path = saved(W_KQ=np.zeros((1, 1, D, D)), W_PV=np.zeros((1, 1, D, D)))
    assert (load(path).model(PROMPTS.xs, PROMPTS.ys) == 0).all()


@pytest.mark.parametrize("make", [lambda a: a, products], ids=["factors", "products"])
def test_rows_are_the_transposes_of_columns(saved, make):
    arrays = make(factors())
    columns = load(saved(**arrays, convention="columns")).model
    rows = load(saved(**{name: w.swapaxes(-1, -2) for name, w in arrays.items()}, convention="rows")).model
    torch.testing.assert_close(rows.QK.AB, columns.QK.AB)
    torch.testing.assert_close(rows.OV.AB, columns.OV.AB)


def test_one_gradient_step_is_one_gradient_step(saved):
    eta, n = 0.3, N_POINTS - 1
    key, value = np.diag([1.0] * N_DIMS + [0.0]), np.zeros((D, D))
    value[-1, -1] = -1
    path = saved(W_Q=key, W_K=key, W_V=value, P=np.eye(D) * eta / n, n_points=N_POINTS)
    x, y = PROMPTS.xs.double().numpy(), PROMPTS.ys.double().numpy()
    w = eta / n * np.einsum("bnd,bn->bd", x[:, :-1], y[:, :-1])
    assert_predicts(path, np.einsum("bd,bd->b", w, x[:, -1]))


@pytest.mark.parametrize("n_layers, n_heads", [(1, 1), (3, 1), (2, 2)])
def test_allparam_predicts_what_ahns_forward_does(saved, n_layers, n_heads):
    allparam = np.random.default_rng(1).normal(size=(n_layers, n_heads, 2, N_DIMS, N_DIMS)) * 0.3
    path = saved(allparam=allparam, n_points=N_POINTS)
    assert_predicts(path, ahn(allparam))
    assert load(path).task.n_points == N_POINTS


@pytest.mark.parametrize("make", [lambda a: a, products], ids=["factors", "products"])
def test_a_tied_layer_is_applied_again_and_again(saved, make):
    arrays = factors(1, 2)
    path = saved(**make(arrays), tied=True, n_layers=3)
    assert_predicts(path, von_oswald(heads(arrays, n_layers=3)))
    cfg = load(path).model.cfg
    assert cfg.tied and cfg.n_layers == 3
    assert_predicts(saved(**make(arrays), tied=False), von_oswald(heads(arrays)))


def test_damping_and_clip_are_von_oswalds(saved):
    arrays = factors(3, 1)
    path = saved(**arrays, damping=0.5, clip=0.8)
    assert_predicts(path, von_oswald(heads(arrays), damping=0.5, clip=0.8))
    assert not np.allclose(von_oswald(heads(arrays), 0.5, 0.8), von_oswald(heads(arrays)), atol=1e-2)


def haiku(arrays, module="transformer/~trans_block/layer_{}"):
    """The flat parameters of von Oswald's code: maps on rows, heads side by side."""
    flat = {}
    for layer in range(len(arrays["W_Q"])):
        name = module.format(layer)
        for ours, theirs in [("W_Q", "query"), ("W_K", "key"), ("W_V", "value")]:
            flat[f"{name}/{theirs}/w"] = np.concatenate([w.T for w in arrays[ours][layer]], axis=1)
        flat[f"{name}/linear/w"] = np.concatenate([w.T for w in arrays["P"][layer]], axis=0)
    return flat


def test_haikus_layers_are_read(saved):
    arrays = factors(n_layers=11, n_heads=1)  # layer_10 comes before layer_2 in the alphabet
    arrays = {name: w * 0.5 for name, w in arrays.items()}
    assert_predicts(saved(**haiku(arrays)), von_oswald(heads(arrays)))


@pytest.mark.parametrize("d_key", [D, 2])
def test_haikus_heads_lie_side_by_side(saved, d_key):
    arrays = factors(n_layers=2, n_heads=2, d_key=d_key, d_value=d_key)
    assert_predicts(saved(**haiku(arrays), n_heads=2), von_oswald(heads(arrays)))


@pytest.mark.parametrize("module", ["transformer/multi_head_attention", "Transformer_gd/multi_head_attention"])
@pytest.mark.parametrize("n_layers", [None, 1, 4])
def test_haikus_recurrent_block_is_tied(saved, module, n_layers):
    arrays = factors(n_layers=1, n_heads=1)
    said = {} if n_layers is None else {"n_layers": n_layers}
    path = saved(**haiku(arrays, module), **said)
    assert_predicts(path, von_oswald(heads(arrays, n_layers)))
    assert load(path).model.cfg.tied


def test_fewer_axes_mean_one_layer_and_one_head(saved):
    arrays = factors(1, 1)
    assert_predicts(saved(**{name: w[0, 0] for name, w in arrays.items()}), von_oswald(heads(arrays)))
    assert_predicts(saved(**{name: w[0] for name, w in arrays.items()}), von_oswald(heads(arrays)))


@pytest.mark.parametrize("axis, said", [(0, {"n_heads": 3}), (1, {"n_layers": 3})])
def test_a_third_axis_is_what_the_file_says(saved, axis, said):
    arrays = factors(n_layers=3 if axis else 1, n_heads=1 if axis else 3)
    three = {name: w[:, 0] if axis else w[0] for name, w in arrays.items()}
    assert_predicts(saved(**three, **said), von_oswald(heads(arrays)))


def test_a_third_axis_of_a_tied_layer_is_heads(saved):
    arrays = factors(1, 3)
    three = {name: w[0] for name, w in arrays.items()}
    path = saved(**three, tied=True, n_layers=3, n_heads=3)
    assert_predicts(path, von_oswald(heads(arrays, n_layers=3)))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64])
def test_every_real_dtype_becomes_float32(saved, dtype):
    arrays = {name: (w * 10).astype(dtype) for name, w in factors(1, 1).items()}
    model = load(saved(**arrays)).model
    assert model.attentions[0].qkv_weight.dtype == torch.float32
    torch.testing.assert_close(model.attentions[0].W_Q[0], torch.from_numpy(arrays["W_Q"][0, 0].T).float())


def test_the_task_is_what_the_file_says(saved):
    arrays = factors()
    plain = load(saved(**arrays))
    assert plain.task == LinearRegression(n_dims=N_DIMS, n_points=D)  # von Oswald's: as many examples as dimensions
    assert plain.about == f"n_points={D} was assumed, the file does not say."
    assert (plain.format, plain.seed, plain.w_std_known, plain.model.training) == ("matrices", None, False, False)
    told = load(saved(**arrays, n_points=9, w_std=0.5, half_width=0.5, n_dims=N_DIMS, n_layers=2, n_heads=2))
    assert told.task == LinearRegression(n_dims=N_DIMS, n_points=9, w_std=0.5, inputs=Uniform(half_width=0.5))
    assert (told.about, told.w_std_known) == ("", True)
    overruled = load(saved(**arrays, w_std=0.5), w_std=2.0)
    assert overruled.task == LinearRegression(n_dims=N_DIMS, n_points=D, w_std=2.0) and not overruled.w_std_known


def test_a_compressed_file_is_read_as_well(tmp_path):
    np.savez_compressed(tmp_path / "weights.npz", **factors(), n_points=N_POINTS)
    assert_predicts(tmp_path / "weights.npz", von_oswald(heads(factors())))


def test_an_untrained_twin_has_the_architecture_and_other_weights(saved):
    path = saved(**factors(d_key=2, d_value=2))
    trained, twin = load(path).model, load(f"{path}@untrained").model
    assert twin.cfg == trained.cfg and not torch.allclose(
        twin.attentions[0].out_weight, trained.attentions[0].out_weight
    )
