import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mesascope.models import (
    GradientDescent,
    GradientDescentPlusPlus,
    LinearRegression,
    MesascopeError,
    RegressorConfig,
    ScheduledGradientDescent,
    gd_plus_plus,
    gradient_descent,
)
from tests.models.constructions.specimens import products

D = torch.float64


def prompts_of(n_points=41, n_dims=20, n_prompts=50):
    return LinearRegression(n_dims=n_dims, n_points=n_points).sample(n_prompts, seed=0, dtype=D)


def by_hand(xs, Y, w0, etas, gammas=None):
    """Descent on the context from w0 and the prediction, one prompt, output and point at a time."""
    out = torch.zeros(len(xs), Y.shape[-1], dtype=D)
    for b in range(len(xs)):
        for k in range(Y.shape[-1]):
            X, q = xs[b, :-1], xs[b, -1]
            # GD++ moves x too, and what w0 leaves is then fitted with the moved x.
            left, fitted = Y[b, :-1, k] - X @ w0[k], q @ w0[k]
            for eta, gamma in zip(etas, gammas or [0.0] * len(etas), strict=True):
                S, n = X.T @ X, len(X)
                step = eta / n * (X.T @ left)
                fitted, left = fitted + q @ step, left - X @ step
                X, q = X - gamma / n * X @ S, q - gamma / n * S @ q
            out[b, k] = fitted
    return out


@pytest.mark.parametrize("n_points", [2, 11, 21, 41])
@pytest.mark.parametrize("n_steps", [1, 4])
def test_descent_is_its_learner(n_points, n_steps):
    prompts, model = prompts_of(n_points), gradient_descent(20, n_points, [0.3] * n_steps, dtype=D)
    expected = GradientDescent(n_steps, 0.3).predict(prompts)[:, -1:]
    torch.testing.assert_close(model(prompts.xs, prompts.ys), expected, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("n_points", [2, 11, 21, 41])
def test_gd_plus_plus_is_its_learner(n_points):
    etas, gammas = (0.3, 0.4, 0.5), (0.05, 0.1, 0.2)
    prompts, model = prompts_of(n_points), gd_plus_plus(20, n_points, etas, gammas, dtype=D)
    expected = GradientDescentPlusPlus(etas, gammas).predict(prompts)[:, -1:]
    torch.testing.assert_close(model(prompts.xs, prompts.ys), expected, atol=1e-12, rtol=1e-12)


finite = st.floats(-0.5, 0.5)


@settings(max_examples=30)
@given(st.lists(finite, min_size=1, max_size=4), st.integers(1, 4), st.integers(2, 9))
def test_any_step_sizes_do_what_they_do_in_the_learner(etas, n_dims, n_points):
    prompts, model = prompts_of(n_points, n_dims, 5), gradient_descent(n_dims, n_points, etas, dtype=D)
    expected = ScheduledGradientDescent(tuple(etas)).predict(prompts)[:, -1:]
    torch.testing.assert_close(model(prompts.xs, prompts.ys), expected, atol=1e-12, rtol=1e-10)


@settings(max_examples=30)
@given(st.lists(st.tuples(finite, finite), min_size=1, max_size=4), st.integers(1, 4), st.integers(2, 9))
def test_any_etas_and_gammas_do_what_they_do_in_the_learner(scalars, n_dims, n_points):
    etas, gammas = zip(*scalars, strict=True)
    prompts, model = prompts_of(n_points, n_dims, 5), gd_plus_plus(n_dims, n_points, etas, gammas, dtype=D)
    expected = GradientDescentPlusPlus(etas, gammas).predict(prompts)[:, -1:]
    torch.testing.assert_close(model(prompts.xs, prompts.ys), expected, atol=1e-11, rtol=1e-9)  # x may grow a lot


@pytest.mark.parametrize("kind", ["GD", "GD++"])
@pytest.mark.parametrize("d_out", [1, 3])
@pytest.mark.parametrize("start", ["zero", "w0"])
def test_several_outputs_and_any_start_are_descent_by_hand(kind, d_out, start):
    rng = torch.Generator().manual_seed(0)
    xs = torch.randn(10, 13, 4, generator=rng, dtype=D)
    Y, w0 = torch.randn(10, 13, d_out, generator=rng, dtype=D), torch.randn(d_out, 4, generator=rng, dtype=D)
    etas, gammas = [0.4, 0.3, 0.2], [0.1, 0.05, 0.2]
    fields = dict(d_out=d_out, dtype=D) | ({"w0": w0 if d_out > 1 else w0[0]} if start == "w0" else {})
    if kind == "GD":
        model, expected = gradient_descent(4, 13, etas, **fields), by_hand(xs, Y, w0 * (start == "w0"), etas)
    else:
        model = gd_plus_plus(4, 13, etas, gammas, **fields)
        expected = by_hand(xs, Y, w0 * (start == "w0"), etas, gammas)
    preds = model(xs, Y if d_out > 1 else Y[..., 0])
    assert preds.shape == ((10, 1, d_out) if d_out > 1 else (10, 1))
    torch.testing.assert_close(preds.reshape(10, d_out), expected, atol=1e-12, rtol=1e-12)


def test_each_output_is_what_it_would_be_alone():
    prompts = prompts_of(11, 3)
    Y = torch.stack([prompts.ys, prompts.ys.square(), prompts.xs[..., 0]], dim=-1)
    both = gradient_descent(3, 11, [0.3, 0.2], d_out=3, dtype=D)(prompts.xs, Y)
    alone = gradient_descent(3, 11, [0.3, 0.2], dtype=D)
    expected = torch.stack([alone(prompts.xs, Y[..., index]) for index in range(3)], dim=-1)
    torch.testing.assert_close(both, expected, atol=1e-12, rtol=1e-12)


def test_the_weights_are_those_of_the_paper():
    """W_K = W_Q = diag(I, 0), P V = −η/n on y; GD++ has diag(−γ/n I, −η/n)."""
    plain, plus = gradient_descent(2, 6, 0.5, dtype=D), gd_plus_plus(2, 6, 0.5, 0.25, dtype=D)
    for model, gamma in ((plain, 0.0), (plus, 0.25)):
        QK, OV = products(model.attentions[0])
        assert torch.equal(QK[0], torch.diag(torch.tensor([1.0, 1.0, 0.0], dtype=D)))
        assert torch.equal(OV[0], torch.diag(torch.tensor([-gamma / 5, -gamma / 5, -0.5 / 5], dtype=D)))


def test_it_is_von_oswalds_architecture_with_a_read_in_where_it_starts_elsewhere():
    cfg = RegressorConfig.linear_self_attention(3, 8, 2)
    assert gradient_descent(3, 8, [0.1, 0.1]).cfg == gd_plus_plus(3, 8, [0.1, 0.1], [0.0, 0.0]).cfg == cfg
    w0 = torch.tensor([1.0, -2.0, 3.0])
    model = gradient_descent(3, 8, [0.1, 0.1], w0=w0)
    assert model.cfg == cfg.model_copy(update={"read_in": "affine"})
    # the query (x_q, 0) becomes the paper's (x_q, −w0·x_q)
    assert torch.equal(model.embed(torch.tensor([[[1.0, 1.0, 1.0, 0.0]]])), torch.tensor([[[1.0, 1.0, 1.0, -2.0]]]))


def test_on_prompts_of_another_length_the_step_changes_with_it():
    prompts, model = prompts_of(6, 3), gradient_descent(3, 11, 0.4, dtype=D)
    expected = GradientDescent(1, 0.4 * 5 / 10).predict(prompts)[:, -1:]
    torch.testing.assert_close(model(prompts.xs, prompts.ys), expected)


def test_each_layer_holds_the_residual_of_its_step():
    """After l layers a context token's y-slot is y − w_l·x: the iterates can be watched."""
    prompts, model = prompts_of(9, 3), gradient_descent(3, 9, [0.3, 0.3, 0.3], dtype=D)
    _, cache = model.run_with_cache(prompts.xs, prompts.ys)
    X, y, w = prompts.xs[:, :-1], prompts.ys[:, :-1], torch.zeros(50, 3, dtype=D)
    for layer in range(3):
        w = w + 0.3 / 8 * torch.einsum("bjd,bj->bd", X, y - torch.einsum("bjd,bd->bj", X, w))
        left = y - torch.einsum("bjd,bd->bj", X, w)
        torch.testing.assert_close(cache["resid_post", layer][:, :-1, -1], left, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize(
    "build, complaint",
    [
        (lambda: gradient_descent(0, 5, 0.1), "n_dims=0: expected at least 1"),
        (lambda: gradient_descent(3, 5, 0.1, d_out=0), "d_out=0: expected at least 1"),
        (lambda: gradient_descent(3, 1, 0.1), "n_points=1 leaves no context"),
        (lambda: gradient_descent(3, 5, []), "etas=.*one for each step"),
        (lambda: gradient_descent(3, 5, [0.1] * 1001), "n_layers: Input should be less than or equal to 1000"),
        (lambda: gradient_descent(3, 5, 0.1, w0=torch.ones(2)), r"w0 of shape \(2,\): expected \(3,\)"),
        (lambda: gd_plus_plus(0, 5, 0.1, 0.1), "n_dims=0: expected at least 1"),
        (lambda: gd_plus_plus(3, 5, [0.1, 0.2], [0.1]), "2 etas and 1 gammas; expected one of each per step"),
        (lambda: gd_plus_plus(3, 5, 0.1, float("nan")), "gammas=.*finite numbers"),
    ],
)
def test_impossible_arguments_are_refused_in_one_line(build, complaint):
    with pytest.raises(MesascopeError, match=complaint) as caught:
        build()
    assert "\n" not in str(caught.value)
