import pytest
import torch

from mesascope.models import HookedRegressor, LinearRegression, RegressorConfig
from mesascope.models.inputs import Gaussian, Uniform
from mesascope.models.training.small_form import context_grams, jacobian, predicted_weights, write_products

TASK = LinearRegression(n_dims=3, n_points=7)


def lsa(n_layers, tied=False):
    return RegressorConfig.linear_self_attention(3, 7, n_layers, tied=tied)


def random_maps(n_layers, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return 0.3 * torch.randn(n_layers, 2, 4, 4, generator=rng, dtype=torch.float64)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("n_layers", [1, 2, 3])
def test_the_small_form_is_the_token_models_forward_pass(n_layers, tied):
    maps = random_maps(1).expand(n_layers, -1, -1, -1) if tied else random_maps(n_layers)
    model = HookedRegressor(lsa(n_layers, tied)).double()
    write_products(model, maps, n_context=6)
    prompts = TASK.sample(20, seed=0, dtype=torch.float64)
    small = (predicted_weights(maps, context_grams(prompts)) * prompts.xs[:, -1]).sum(-1)
    torch.testing.assert_close(model(prompts.xs, prompts.ys)[:, 0], small, atol=1e-11, rtol=1e-9)


def test_written_products_are_the_models_gauge_free_maps():
    maps = random_maps(2)
    model = HookedRegressor(lsa(2)).double()
    write_products(model, maps, n_context=6)
    for attention, (W_PV, W_KQ) in zip(model.attentions, maps, strict=True):
        torch.testing.assert_close(attention.W_Q[0] @ attention.W_K[0].T, W_KQ.T)
        torch.testing.assert_close(attention.W_V[0] @ attention.W_O[0], W_PV.T / 6)
        # balanced: neither factor of a pair is larger
        torch.testing.assert_close(attention.W_Q[0].norm(), attention.W_K[0].norm())
        torch.testing.assert_close(attention.W_V[0].norm(), attention.W_O[0].norm())


@pytest.mark.parametrize("n_layers", [1, 2, 3])
def test_the_jacobian_is_autograds(n_layers):
    maps, grams = random_maps(n_layers), context_grams(TASK.sample(5, seed=0, dtype=torch.float64))
    cotangents = torch.randn(5, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    ours = jacobian(maps, grams, cotangents)
    for context in range(5):
        for k in range(2):

            def scalar(maps, context=context, k=k):
                return predicted_weights(maps, grams[context : context + 1])[0] @ cotangents[context, k]

            theirs = torch.autograd.functional.jacobian(scalar, maps)
            torch.testing.assert_close(ours[context, k], theirs, atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize("inputs", [Gaussian(), Uniform(half_width=0.5)], ids=repr)
def test_the_prediction_is_linear_in_the_query(inputs):
    task = TASK.model_copy(update={"inputs": inputs})
    maps = random_maps(2)
    model = HookedRegressor(lsa(2)).double()
    write_products(model, maps, n_context=6)
    prompts = task.sample(4, seed=0, dtype=torch.float64)
    doubled = prompts.xs.clone()
    doubled[:, -1] *= 2
    torch.testing.assert_close(model(doubled, prompts.ys), 2 * model(prompts.xs, prompts.ys))
