import pytest
import torch

from mesascope.models import HookedRegressor, LinearRegression, MesascopeError, RegressorConfig, optimal_step
from mesascope.models.inputs import Gaussian, Mixture, Uniform
from mesascope.models.spectra import LogUniform
from mesascope.models.training.gram import (
    GramTrainer,
    GramTraining,
    context_grams,
    predicted_weights,
    write_products,
)

TASK = LinearRegression(n_dims=3, n_points=7)


def lsa(n_layers, task=TASK):
    return RegressorConfig.linear_self_attention(task.n_dims, task.n_points, n_layers)


def random_maps(n_layers, n_seeds=1, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return 0.3 * torch.randn(2, n_seeds, n_layers, 4, 4, generator=rng, dtype=torch.float64)


def trainer_of(n_layers=1, seeds=(0,), task=TASK, **settings):
    return GramTrainer(GramTraining(**{"batch_size": 64, **settings}), lsa(n_layers, task), task, list(seeds))


@pytest.mark.parametrize("n_layers", [1, 2, 3])
def test_the_small_form_is_the_token_models_forward_pass(n_layers):
    W_PV, W_KQ = random_maps(n_layers)
    model = HookedRegressor(lsa(n_layers)).double()
    write_products(model, W_PV[0], W_KQ[0], n_context=6)
    prompts = TASK.sample(20, seed=0, dtype=torch.float64)
    small = (predicted_weights(W_PV, W_KQ, context_grams(prompts))[0] * prompts.xs[:, -1]).sum(-1)
    torch.testing.assert_close(model(prompts.xs, prompts.ys)[:, 0], small, atol=1e-11, rtol=1e-9)


def test_written_products_are_the_models_gauge_free_maps():
    W_PV, W_KQ = random_maps(2)
    model = HookedRegressor(lsa(2)).double()
    write_products(model, W_PV[0], W_KQ[0], n_context=6)
    for layer, attention in enumerate(model.attentions):
        torch.testing.assert_close(attention.W_Q[0] @ attention.W_K[0].T, W_KQ[0, layer].T)
        torch.testing.assert_close(attention.W_V[0] @ attention.W_O[0], W_PV[0, layer].T / 6)
        # balanced: neither factor of a pair is larger
        torch.testing.assert_close(attention.W_Q[0].norm(), attention.W_K[0].norm())
        torch.testing.assert_close(attention.W_V[0].norm(), attention.W_O[0].norm())


@pytest.mark.parametrize("inputs", [Gaussian(), Uniform(half_width=0.5)], ids=repr)
def test_the_loss_has_the_query_marginalised(inputs):
    """Against the token model on 200 fresh queries for each of 300 contexts."""
    task = TASK.model_copy(update={"inputs": inputs})
    trainer = trainer_of(2, task=task)
    W_PV, W_KQ = random_maps(2)
    trainer.W_PV, trainer.W_KQ = W_PV, W_KQ
    prompts = task.sample(300, seed=0, dtype=torch.float64)
    assert prompts.w is not None
    queries = inputs.sample(300, 200, 3, torch.Generator().manual_seed(0))
    w_hat = predicted_weights(W_PV, W_KQ, context_grams(prompts))[0]
    errors = torch.einsum("bqd,bd->bq", queries, w_hat - prompts.w).square().mean(1)
    # Queries are the only noise: 60,000 of them, four standard errors of a χ² of one degree per context.
    tolerance = 4 * (2 / 200) ** 0.5 * errors.square().sum().sqrt() / 300
    assert abs(trainer.losses(prompts)[0] - errors.mean()) < tolerance


def test_seeds_do_not_touch_each_other():
    trainer = trainer_of(2, seeds=(0, 1, 2))
    trainer.W_PV.data.normal_(std=0.3)
    prompts = TASK.sample(8, seed=0)
    losses = trainer.losses(prompts)
    assert losses.shape == (3,) and len(losses.unique()) == 3
    for seed in range(3):
        for weights in (trainer.W_PV, trainer.W_KQ):
            (gradient,) = torch.autograd.grad(losses[seed], weights, retain_graph=True)
            others = [other for other in range(3) if other != seed]
            assert (gradient[others] == 0).all() and gradient[seed].abs().max() > 0


def test_the_first_of_several_seeds_trains_as_if_it_were_alone():
    together, alone = trainer_of(2, seeds=(0, 1, 2), n_steps=30), trainer_of(2, seeds=(0,), n_steps=30)
    for index in range(30):
        together.step(index), alone.step(index)
    # 1e-3: Adam's division amplifies the float32 rounding by which batched products differ.
    torch.testing.assert_close(together.W_PV[0], alone.W_PV[0], atol=1e-3, rtol=0)
    assert (together.W_PV[1] - together.W_PV[0]).abs().max() > 0.01


def test_training_starts_near_the_zero_prediction_at_every_depth():
    trainer = trainer_of(3, seeds=(0, 1))
    prompts = TASK.sample(50, seed=0)
    assert prompts.w is not None
    null = prompts.w.square().sum(-1).mean().expand(2)
    torch.testing.assert_close(trainer.losses(prompts, n_layers=1), null, rtol=0.1, atol=0)
    torch.testing.assert_close(trainer.losses(prompts), trainer.losses(prompts, n_layers=1))


def test_layers_join_one_after_the_other_without_a_jolt():
    trainer = trainer_of(2, n_steps=20)
    start = trainer.W_PV.detach().clone()
    for index in range(10):
        trainer.step(index)
    assert torch.equal(trainer.W_PV[:, 1], start[:, 1]) and not torch.equal(trainer.W_PV[:, 0], start[:, 0])
    prompts = TASK.sample(50, seed=1)
    torch.testing.assert_close(trainer.losses(prompts, n_layers=2), trainer.losses(prompts, n_layers=1))
    trainer.step(10)
    assert not torch.equal(trainer.W_PV[:, 1], start[:, 1])


@pytest.mark.parametrize(
    "task", [TASK, LinearRegression(n_dims=4, n_points=9, inputs=Uniform(), w_std=2.0)], ids=["gaussian", "uniform"]
)
def test_one_layer_ends_at_the_closed_form_of_one_gradient_step(task):
    trainer = trainer_of(1, seeds=(0, 1, 2), task=task, n_steps=500, batch_size=512)
    start = trainer.step(0)
    for index in range(1, 500):
        trainer.step(index)
    best, held_out = optimal_step(task).mse, task.sample(20_000, seed=1)
    ratio = trainer.losses(held_out).detach() / best
    # 20,000 contexts give the loss to 1%, and nothing of this form is better than the closed form.
    assert (ratio < 1.03).all() and (ratio > 0.97).all()
    assert start > 1.5 * best


def test_two_layers_end_below_the_best_single_step():
    trainer = trainer_of(2, n_steps=600, batch_size=256, task=TASK.model_copy(update={"inputs": Uniform()}))
    for index in range(600):
        trainer.step(index)
    losses = trainer.losses(trainer.task.sample(4000, seed=1))
    assert losses.item() < 0.85 * optimal_step(trainer.task).mse


def test_training_is_bitwise_reproducible():
    first, second = trainer_of(2, n_steps=10), trainer_of(2, n_steps=10)
    assert [first.step(i) for i in range(10)] == [second.step(i) for i in range(10)]
    assert torch.equal(first.W_PV, second.W_PV) and torch.equal(first.W_KQ, second.W_KQ)
    assert not torch.equal(trainer_of(2, seeds=(1,)).W_KQ, trainer_of(2, seeds=(0,)).W_KQ)


def test_sync_writes_what_was_trained_into_the_model():
    model = HookedRegressor(lsa(2))
    trainer = GramTraining(n_steps=20, batch_size=64).start(model, TASK, seed=0)
    for index in range(20):
        trainer.step(index)
    trainer.sync()
    prompts = TASK.sample(10, seed=0)
    w_hat = predicted_weights(trainer.W_PV, trainer.W_KQ, context_grams(prompts))[0]
    expected = (w_hat * prompts.xs[:, -1]).sum(-1)
    torch.testing.assert_close(model(prompts.xs, prompts.ys)[:, 0], expected, atol=1e-5, rtol=1e-4)


def test_without_a_model_there_is_nothing_to_sync():
    with pytest.raises(ValueError, match="given no model to write to"):
        trainer_of().sync()


@pytest.mark.parametrize(
    "change",
    [{"n_heads": 2}, {"causal": True}, {"query_is_key": True}, {"attention": "softmax"}, {"layer_norm": True},
     {"bias": True}, {"d_mlp": 8}, {"d_head": 3}],
    ids=repr,
)  # fmt: skip
def test_an_architecture_for_which_the_form_is_not_exact_is_refused(change):
    with pytest.raises(MesascopeError, match="train this architecture with trainer 'tokens'"):
        GramTrainer(GramTraining(), lsa(1).model_copy(update=change), TASK, [0])


@pytest.mark.parametrize(
    "inputs",
    [Gaussian(spectrum=LogUniform(kappa=30)), Mixture(components=(Gaussian(), Uniform()))],
    ids=["spectrum", "mixture"],
)
def test_inputs_whose_covariance_differs_between_prompts_are_refused(inputs):
    """E x xᵀ is then not known to the marginalised loss, which would silently weigh w by the wrong matrix."""
    with pytest.raises(MesascopeError, match="isotropic Gaussian or uniform x"):
        trainer_of(task=TASK.model_copy(update={"inputs": inputs}))
