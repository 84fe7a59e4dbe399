import pytest
import torch

from mesascope.models import (
    HookedRegressor,
    LinearRegression,
    MesascopeError,
    RegressorConfig,
    optimal_preconditioner,
    optimal_step,
)
from mesascope.models.inputs import Gaussian, Mixture, Uniform
from mesascope.models.spectra import Geometric, LogUniform
from mesascope.models.tasks import SparseLinearRegression
from mesascope.models.training.gram import GramTrainer, GramTraining
from mesascope.models.training.small_form import context_grams, predicted_weights

TASK = LinearRegression(n_dims=3, n_points=7)
QUICK = {"n_fit": 1024, "batch_size": 512, "polish_pool": 2000, "n_average": 2}


def lsa(n_layers, task=TASK, tied=False):
    return RegressorConfig.linear_self_attention(task.n_dims, task.n_points, n_layers, tied=tied)


def trainer_of(n_layers=1, seeds=(0,), task=TASK, tied=False, **settings):
    return GramTrainer(GramTraining(**QUICK | settings), lsa(n_layers, task, tied), task, list(seeds))


def run(trainer, n_steps=None):
    return [trainer.step(index).item() for index in range(n_steps or trainer.settings.n_steps)]


@pytest.mark.parametrize("inputs", [Gaussian(), Uniform(half_width=0.5)], ids=repr)
def test_the_loss_has_the_query_marginalised(inputs):
    """Against 200 fresh queries for each of 300 contexts."""
    task = TASK.model_copy(update={"inputs": inputs})
    trainer = trainer_of(2, task=task)
    rng = torch.Generator().manual_seed(0)
    trainer.descents[0].maps = 0.3 * torch.randn(2, 2, 4, 4, dtype=torch.float64, generator=rng)
    prompts = task.sample(300, seed=0, dtype=torch.float64)
    queries = inputs.sample(300, 200, 3, rng)
    w_hat = predicted_weights(trainer.descents[0].maps, context_grams(prompts))
    assert prompts.w is not None
    errors = torch.einsum("bqd,bd->bq", queries, w_hat - prompts.w).square().mean(1)
    # Queries are the only noise: 60,000 of them, four standard errors of a χ² of one degree per context.
    tolerance = 4 * (2 / 200) ** 0.5 * errors.square().sum().sqrt() / 300
    assert abs(trainer.losses(prompts)[0] - errors.mean()) < tolerance


@pytest.mark.parametrize(
    "task",
    [
        TASK,
        LinearRegression(n_dims=4, n_points=9, inputs=Uniform(), w_std=2.0),
        LinearRegression(n_dims=3, n_points=9, noise_std=0.5),
    ],
    ids=["gaussian", "uniform", "noisy"],
)
def test_one_layer_ends_at_the_closed_form_of_one_gradient_step(task):
    trainer = trainer_of(1, seeds=(0, 1, 2), task=task, n_steps=5, n_fit=4096, polish_pool=16_384)
    run(trainer)
    # 20,000 contexts give the loss to 1%, and nothing of this form is better than the closed form.
    ratio = trainer.losses(task.sample(20_000, seed=1)) / optimal_step(task).mse
    assert (ratio < 1.03).all() and (ratio > 0.97).all()


@pytest.mark.parametrize("basis", ["axes", "fixed"])
def test_one_layer_on_anisotropic_inputs_ends_at_the_closed_form_preconditioner(basis):
    """Ahn et al. (2023), theorem 1: cosine .999 at least; the identity is far from it."""
    task = LinearRegression(n_dims=4, n_points=11, inputs=Gaussian(spectrum=Geometric(kappa=25), basis=basis))
    trainer = trainer_of(1, task=task, n_steps=5, n_fit=16_384, polish_pool=65_536)
    run(trainer)
    W_PV, W_KQ = trainer.descents[0].maps[0]
    found, best = -W_PV[-1, -1] * W_KQ[:-1, :-1].T, optimal_preconditioner(task)
    cosine = torch.nn.functional.cosine_similarity

    assert cosine(found.flatten(), best.flatten(), 0) > 0.999
    assert cosine(torch.eye(4).double().flatten(), best.flatten(), 0) < 0.95
    assert (found - best).norm() < 0.05 * best.norm()


def test_two_layers_end_below_the_best_single_step_and_tied_ones_between():
    task = TASK.model_copy(update={"inputs": Uniform()})
    losses = {}
    for tied in (False, True):
        trainer = trainer_of(2, task=task, tied=tied, n_steps=14)
        run(trainer)
        losses[tied] = trainer.losses(task.sample(8000, seed=1)).item()
    assert losses[False] < losses[True] < 0.9 * optimal_step(task).mse


def test_layers_join_one_after_the_other():
    trainer = trainer_of(3, joint_steps=(1, 2), n_steps=12)
    used = []
    for index in range(9):
        trainer.step(index)
        used.append(sum(bool(layer.any()) for layer in trainer.descents[0].maps))
    assert used == [1, 1, 2, 2, 2, 3, 3, 3, 3]
    places = [trainer.settings.place(index, 3) for index in range(9)]
    assert places == [(1, 0), (1, 1), (2, 0), (2, 1), (2, 2), (3, 0), (3, 1), (3, 2), (4, 0)]


def test_seeds_do_not_touch_each_other():
    together, alone = trainer_of(2, seeds=(0, 1), n_steps=10), trainer_of(2, seeds=(1,), n_steps=10)
    run(together), run(alone)
    assert torch.equal(together.descents[1].maps, alone.descents[0].maps)
    assert not torch.equal(together.descents[0].maps, together.descents[1].maps)


def test_training_is_bitwise_reproducible():
    first, second = trainer_of(2, n_steps=10), trainer_of(2, n_steps=10)
    assert run(first) == run(second)
    assert torch.equal(first.descents[0].maps, second.descents[0].maps)


def test_a_step_that_lowers_no_loss_is_not_taken_and_raises_the_damping():
    trainer = trainer_of(1, n_steps=40)
    run(trainer, 30)
    at = trainer.descents[0]
    before, damping = at.maps.clone(), at.damping
    trainer._errors = lambda used, batch: torch.ones(len(batch), dtype=torch.float64)
    trainer.step(30)
    assert torch.equal(at.maps, before) and at.damping == pytest.approx(10 * damping)


@pytest.mark.parametrize("tied", [False, True])
def test_sync_writes_what_was_trained_into_the_model(tied):
    model = HookedRegressor(lsa(2, tied=tied))
    trainer = GramTraining(**QUICK, n_steps=9).start(model, TASK, seed=0)
    run(trainer)
    trainer.sync()
    prompts = TASK.sample(10, seed=0)
    maps = trainer.descents[0].maps.expand(2, -1, -1, -1) if tied else trainer.descents[0].maps
    w_hat = predicted_weights(maps, context_grams(prompts.to(torch.float64)))
    expected = (w_hat * prompts.xs[:, -1]).sum(-1).float()
    torch.testing.assert_close(model(prompts.xs, prompts.ys)[:, 0], expected, atol=1e-5, rtol=1e-4)


def test_without_a_model_there_is_nothing_to_sync():
    with pytest.raises(ValueError, match="given no model to write to"):
        trainer_of().sync()


@pytest.mark.parametrize(
    "change",
    [{"n_heads": 2}, {"causal": True}, {"query_is_key": True}, {"attention": "softmax"}, {"layer_norm": True},
     {"attention_bias": True}, {"d_mlp": 8}, {"d_head": 3}, {"damping": 0.5}, {"clip": 10.0}],
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
    with pytest.raises(MesascopeError, match="another covariance for every prompt"):
        trainer_of(task=TASK.model_copy(update={"inputs": inputs}))


def test_a_task_that_is_not_linear_regression_is_refused():
    with pytest.raises(MesascopeError, match="needs linear regression, got sparse_linear_regression"):
        trainer_of(task=SparseLinearRegression(n_dims=3, n_points=7))
