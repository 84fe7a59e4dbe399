import pytest
import torch

from mesascope.models import GradientDescent, HookedRegressor, LinearRegression, MesascopeError, copy_then_descend

D = torch.float64


def prompts_of(n_points=41, n_dims=20, n_prompts=50):
    return LinearRegression(n_dims=n_dims, n_points=n_points).sample(n_prompts, seed=0, dtype=D)


@pytest.mark.parametrize("n_points", [2, 11, 41])
@pytest.mark.parametrize("d_position", [2, 10, 30])
def test_it_is_one_step_of_the_learner(n_points, d_position):
    prompts, model = prompts_of(n_points), copy_then_descend(20, n_points, 0.6, d_position=d_position, dtype=D)
    expected = GradientDescent(1, 0.6).predict(prompts)[:, -1:]
    torch.testing.assert_close(model(prompts.xs, prompts.ys), expected, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("d_position", [2, 10])
def test_every_token_but_the_first_attends_to_the_one_before_it_and_to_nothing_else(d_position):
    prompts, model = prompts_of(n_prompts=1), copy_then_descend(20, 41, 0.6, d_position=d_position, dtype=D)
    pattern = model.run_with_cache(prompts.xs, prompts.ys, names_filter="*hook_pattern")[1]["pattern", 0][0, 0]
    assert ((pattern.diagonal(-1) - 1).abs() < 1e-15).all()
    elsewhere = pattern[1:].clone()
    elsewhere.diagonal().zero_()
    assert elsewhere.sum(-1).max() < 1e-17


def test_the_copy_merges_x_and_y_and_the_query_keeps_its_x():
    prompts, model = prompts_of(6, 3), copy_then_descend(3, 6, 0.6, dtype=D)
    merged = model.run_with_cache(prompts.xs, prompts.ys)[1]["resid_post", 0]
    torch.testing.assert_close(merged[:, 1::2, :3], prompts.xs[:, :-1], atol=1e-15, rtol=1e-15)
    assert torch.equal(merged[:, 1::2, 3], prompts.ys[:, :-1])
    torch.testing.assert_close(merged[:, -1, :3], prompts.xs[:, -1], atol=1e-15, rtol=1e-15)


def test_a_second_step_would_also_fit_the_tokens_of_x_as_points_with_y_zero():
    """Why there is one step only."""
    prompts, model = prompts_of(6, 3), copy_then_descend(3, 6, 0.6, dtype=D)
    fields = model.cfg.model_dump() | dict(n_layers=3, attention=("softmax", "linear", "linear"))
    deeper = HookedRegressor(type(model.cfg).model_validate(fields)).double()
    weights = model.state_dict()
    again = {name.replace("blocks.1", "blocks.2"): value for name, value in weights.items() if "blocks.1" in name}
    deeper.load_state_dict(weights | again)
    preds = deeper(prompts.xs, prompts.ys)
    merged = model.run_with_cache(prompts.xs, prompts.ys)[1]["resid_post", 0][:, :-1]
    X, y, w = merged[..., :3], merged[..., 3], torch.zeros(50, 3, dtype=D)
    assert (y[:, ::2] == 0).all() and (X[:, ::2] != 0).any()
    for _ in range(2):
        w = w + 0.6 / 5 * torch.einsum("bjd,bj->bd", X, y - torch.einsum("bjd,bd->bj", X, w))
    torch.testing.assert_close(preds[:, 0], (w * prompts.xs[:, -1]).sum(-1), atol=1e-12, rtol=1e-12)
    two_steps = GradientDescent(2, 0.6).predict(prompts)[:, -1:]
    assert (preds - two_steps).abs().max() > 0.1


@pytest.mark.parametrize(
    "build, complaint",
    [
        (lambda: copy_then_descend(0, 5, 0.1), "n_dims=0: expected at least 1"),
        (lambda: copy_then_descend(3, 1, 0.1), "n_points=1 leaves no context"),
        (lambda: copy_then_descend(3, 5, float("nan")), r"eta=\(nan,\): expected finite numbers"),
        (lambda: copy_then_descend(3, 5, 0.1, d_position=3), "d_position=3: expected an even width >= 2"),
        (lambda: copy_then_descend(3, 5, 0.1, d_position=0), "d_position=0: expected an even width >= 2"),
    ],
)
def test_impossible_arguments_are_refused(build, complaint):
    with pytest.raises(MesascopeError, match=complaint):
        build()
