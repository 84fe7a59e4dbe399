import pytest
import torch

from mesascope.models import (
    LinearRegression,
    MesascopeError,
    ScheduledGradientDescent,
    descend_on_weights,
    gradient_descent,
    regauge,
)

D = torch.float64
PROMPTS = LinearRegression(n_dims=4, n_points=9).sample(30, seed=0, dtype=D)
ETAS = (0.5, 0.3, 0.2)


@pytest.mark.parametrize("etas", [0.4, ETAS, [0.2] * 20], ids=["one", "three", "twenty"])
def test_it_is_gradient_descent(etas):
    steps = (etas,) if isinstance(etas, float) else tuple(etas)
    preds = descend_on_weights(4, 9, etas, dtype=D)(PROMPTS.xs, PROMPTS.ys)
    expected = ScheduledGradientDescent(steps).predict_at(PROMPTS, [8])
    torch.testing.assert_close(preds, expected, atol=1e-12, rtol=1e-12)


def test_it_predicts_what_gradient_descent_in_the_examples_tokens_does():
    one, other = descend_on_weights(4, 9, ETAS, dtype=D), gradient_descent(4, 9, ETAS, dtype=D)
    torch.testing.assert_close(one(PROMPTS.xs, PROMPTS.ys), other(PROMPTS.xs, PROMPTS.ys), atol=1e-12, rtol=1e-12)


def test_scratch_tokens_hold_s_and_b_and_every_iterate_of_w():
    _, cache = descend_on_weights(4, 9, ETAS, dtype=D).run_with_cache(PROMPTS.xs, PROMPTS.ys)
    X, y = PROMPTS.xs[:, :-1], PROMPTS.ys[:, :-1]
    S, b = X.mT @ X, torch.einsum("bnd,bn->bd", X, y)
    w = torch.zeros_like(b)
    for layer, eta in enumerate((*ETAS, 0.0)):
        scratch = cache["resid_post", layer][:, :4]
        torch.testing.assert_close(scratch[..., :4], S, atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(scratch[..., 17], b, atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(scratch[..., 18], w, atol=1e-12, rtol=1e-12)
        w = w - eta / 8 * (torch.einsum("bij,bj->bi", S, w) - b)


def test_the_size_of_a_step_goes_with_the_number_of_points():
    """η/n is in the weights: on prompts of half as much context a step is half as long."""
    short = PROMPTS[:10]
    short = type(short)(short.xs[:, 4:], short.ys[:, 4:], short.w)
    preds = descend_on_weights(4, 9, 0.4, dtype=D)(short.xs, short.ys)
    expected = ScheduledGradientDescent((0.2,)).predict_at(short, [4])
    torch.testing.assert_close(preds, expected, atol=1e-12, rtol=1e-12)


def test_a_gauge_changes_nothing():
    model = descend_on_weights(4, 9, ETAS, dtype=D)
    other = regauge(model, 3)
    assert any(not torch.allclose(weight, other.weights[name]) for name, weight in model.weights.items())
    torch.testing.assert_close(model(PROMPTS.xs, PROMPTS.ys), other(PROMPTS.xs, PROMPTS.ys), atol=1e-11, rtol=1e-11)


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        ((0, 9, 0.1), "n_dims=0: expected at least 1"),
        ((4, 1, 0.1), "n_points=1 leaves no context"),
        ((4, 9, []), "etas=\\(\\): expected finite numbers"),
        ((4, 9, [0.1, float("nan")]), "etas=\\(0.1, nan\\): expected finite numbers"),
    ],
)
def test_impossible_arguments_are_refused_in_one_line(arguments, complaint):
    with pytest.raises(MesascopeError, match=complaint) as caught:
        descend_on_weights(*arguments)
    assert "\n" not in str(caught.value)
