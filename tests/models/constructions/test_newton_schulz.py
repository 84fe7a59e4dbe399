import pytest
import torch

from mesascope.models import HookedRegressor, LinearRegression, MesascopeError, Newton, newton
from mesascope.models.constructions.newton_schulz import FORMS

D = torch.float64
EXAMPLES = ["mlp", "attention_only", "relu"]


def prompts_of(n_context, n_dims=20, n_prompts=50):
    return LinearRegression(n_dims=n_dims, n_points=n_context + 1).sample(n_prompts, seed=0, dtype=D)


def spectrum(prompts):
    """Eigenvalues of S over the context of every prompt, ascending."""
    return prompts.prefixes([prompts.n_points - 1]).eigenvalues[:, 0]


def stable_alpha(prompts):
    """Half of what the prompt with the largest S allows."""
    return 1 / spectrum(prompts).max().item() ** 2


def errors(form, n_steps, prompts):
    """|construction − learner| of every prompt."""
    alpha = stable_alpha(prompts)
    model = newton(prompts.n_dims, prompts.n_points, n_steps, alpha, form, dtype=D)
    expected = Newton(n_steps, alpha).predict_at(prompts, [prompts.n_points - 1])
    return (model(prompts.xs, prompts.ys) - expected).abs()[:, 0]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("n_context", [10, 20, 30, 40])
@pytest.mark.parametrize("n_steps, tolerance", [(0, 1e-13), (1, 1e-13), (6, 5e-13), (12, 5e-12)])
def test_newton_is_its_learner_in_every_form(form, n_context, n_steps, tolerance):
    """Predictions reach 13; what rounding leaves about doubles with each step."""
    assert errors(form, n_steps, prompts_of(n_context)).max() < tolerance


@pytest.mark.parametrize("n_context", [10, 40])
def test_in_scratch_tokens_rounding_hardly_grows(n_context):
    assert errors("scratch", 20, prompts_of(n_context)).max() < 1e-12


@pytest.mark.parametrize("n_context", [20, 30])
def test_in_scratch_tokens_rounding_grows_with_the_condition_of_the_context(n_context):
    """Along slow directions M doubles from αλ to 1/λ, and rounding with it: by the condition of S squared."""
    prompts = prompts_of(n_context)
    condition = spectrum(prompts)[:, -1] / spectrum(prompts)[:, 0]
    assert (errors("scratch", 20, prompts) < 1e-12 + 10 * condition**2 * torch.finfo(D).eps).all()
    assert errors("scratch", 20, prompts).max() < 1e-10  # as many points as dimensions: measured 3e-11


@pytest.mark.parametrize("form", EXAMPLES)
def test_in_the_examples_rounding_grows_further(form):
    """The reason to have scratch tokens: measured 7e-10 after 20 steps, and no less than 1e-11."""
    assert 1e-11 < errors(form, 20, prompts_of(40)).max() < 5e-9


@pytest.mark.parametrize("form", FORMS)
def test_newton_is_its_matrix_iteration(form):
    prompts, alpha = prompts_of(7, n_dims=3), 2e-3
    model = newton(3, 8, 4, alpha, form, dtype=D)
    for b, preds in enumerate(model(prompts.xs, prompts.ys)[:, 0]):
        X, y = prompts.xs[b, :-1], prompts.ys[b, :-1]
        S = X.T @ X
        M = alpha * S
        for _ in range(4):
            M = 2 * M - M @ S @ M
        torch.testing.assert_close(preds, prompts.xs[b, -1] @ M @ X.T @ y, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("form", ["mlp", "relu"])
def test_each_layer_holds_its_iterate_beside_every_example(form):
    prompts, alpha = prompts_of(7, n_dims=3, n_prompts=1), 2e-3
    _, cache = newton(3, 8, 3, alpha, form, dtype=D).run_with_cache(prompts.xs, prompts.ys)
    S = prompts.xs[0, :-1].T @ prompts.xs[0, :-1]
    M = alpha * S
    for layer in range(4):
        torch.testing.assert_close(cache["resid_post", layer][0, :, :3], prompts.xs[0] @ M, atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(cache["resid_post", layer][0, :, 3:6], prompts.xs[0] @ M, atol=1e-12, rtol=1e-12)
        M = 2 * M - M @ S @ M


def test_without_an_mlp_the_iterates_are_halved_in_every_layer():
    prompts = prompts_of(7, n_dims=3, n_prompts=1)
    models = newton(3, 8, 3, 2e-3, "mlp", dtype=D), newton(3, 8, 3, 2e-3, "attention_only", dtype=D)
    caches = [model.run_with_cache(prompts.xs, prompts.ys)[1] for model in models]
    for layer in range(4):
        doubled, halved = (cache["resid_post", layer][0, :, :3] for cache in caches)
        torch.testing.assert_close(doubled, halved * 2**layer)


def test_scratch_tokens_hold_the_rows_of_the_iterate_of_s_and_of_b():
    prompts, alpha = prompts_of(7, n_dims=3, n_prompts=1), 2e-3
    _, cache = newton(3, 8, 3, alpha, "scratch", dtype=D).run_with_cache(prompts.xs, prompts.ys)
    X = prompts.xs[0, :-1]
    S, b = X.T @ X, X.T @ prompts.ys[0, :-1]
    M = alpha * S
    for layer in range(4):
        scratch = cache["resid_post", layer][0, :3]
        torch.testing.assert_close(scratch[:, :3], M, atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(scratch[:, 3:6], S, atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(scratch[:, 16], b, atol=1e-12, rtol=1e-12)
        M = 2 * M - M @ S @ M


@pytest.mark.parametrize(
    "form, d_model, n_heads, attn_only, attention",
    [
        ("mlp", 4 * 5 + 2, 2, False, "linear"),
        ("attention_only", 4 * 5 + 2, 2, True, "linear"),
        ("relu", 4 * 5 + 2, 4, False, "relu"),
        ("scratch", 5 * 5 + 3, 2, True, "linear"),
    ],
)
def test_each_form_has_its_published_size(form, d_model, n_heads, attn_only, attention):
    cfg = newton(5, 9, 3, 1e-3, form).cfg
    assert (cfg.n_layers, cfg.d_model, cfg.n_heads, cfg.attn_only) == (3 + 2, d_model, n_heads, attn_only)
    assert set(cfg.attentions) == {attention}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("change", [{"causal": True}, {"query_is_key": True}], ids=str)
def test_a_causal_mask_or_a_query_among_the_keys_breaks_it(form, change):
    model, prompts = newton(3, 8, 3, 1e-3, form, dtype=D), prompts_of(7, n_dims=3)
    broken = HookedRegressor(model.cfg.model_copy(update=change)).double()
    broken.load_state_dict(model.state_dict())
    right, wrong = model(prompts.xs, prompts.ys), broken(prompts.xs, prompts.ys)
    assert (right - wrong).abs().max() > 0.01 * right.abs().max()


@pytest.mark.parametrize("form", FORMS)
def test_beyond_two_over_the_largest_square_it_diverges_as_its_learner_does(form):
    prompts = prompts_of(7, n_dims=3)
    alpha = 4 * stable_alpha(prompts)
    preds = newton(3, 8, 6, alpha, form, dtype=D)(prompts.xs, prompts.ys)
    assert preds.abs().max() > 1e3
    torch.testing.assert_close(preds, Newton(6, alpha).predict(prompts)[:, -1:], atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("form", FORMS)
def test_the_weights_depend_on_no_length(form):
    short, long = (newton(3, n_points, 2, 1e-3, form).weights for n_points in (4, 30))
    assert all(torch.equal(weight, long[name]) for name, weight in short.items())


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        ((0, 9, 3, 1e-3), "n_dims=0: expected at least 1"),
        ((5, 0, 3, 1e-3), "n_points=0: expected at least 1"),
        ((5, 9, -1, 1e-3), "n_steps=-1: expected at least 0"),
        ((5, 9, 999, 1e-3), "n_layers: Input should be less than or equal to 1000"),
        ((5, 9, 3, 0.0), "alpha=0.0: expected a finite number > 0"),
        ((5, 9, 3, float("inf")), "alpha=inf: expected a finite number > 0"),
        ((5, 9, 3, float("nan")), "alpha=nan: expected a finite number > 0"),
        ((5, 9, 3, 1e-3, "attention"), "newton has no form 'attention'; did you mean 'attention_only'?"),
    ],
)
def test_impossible_arguments_are_refused_in_one_line(arguments, complaint, unchecked_shapes):
    with pytest.raises(MesascopeError, match=complaint) as caught:
        newton(*arguments)
    assert "\n" not in str(caught.value)
