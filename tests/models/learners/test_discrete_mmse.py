import math

import pytest
import torch

from mesascope.models import LinearRegression, Prompts, Ridge
from mesascope.models.learners import DiscreteMMSE, discrete_mmse
from tests.models.learners.prompts import prompts_of


def test_it_is_the_posterior_mean_by_hand():
    prompts, learner = prompts_of(3, 7), DiscreteMMSE(4, noise_std=0.5, w_std=2.0, seed=3)
    pool = learner.pool(3)
    for b in range(len(prompts)):
        for t in range(7):
            likelihoods = []
            for w in pool:
                errors = prompts.ys[b, :t] - prompts.xs[b, :t] @ w
                likelihoods.append(math.exp(-errors.square().sum().item() / (2 * 0.5**2)))
            w = sum(p * w for p, w in zip(likelihoods, pool, strict=True)) / sum(likelihoods)
            torch.testing.assert_close(learner.weights(prompts)[b, t], w)
            torch.testing.assert_close(learner.predict(prompts)[b, t], prompts.xs[b, t] @ w)


def test_from_no_points_it_predicts_with_the_mean_of_the_pool():
    prompts, learner = prompts_of(), DiscreteMMSE(16, noise_std=0.3)
    torch.testing.assert_close(learner.predict(prompts)[:, 0], prompts.xs[:, 0] @ learner.pool(5).mean(0))
    assert (learner.predict(prompts)[:, 0] != 0).all()


def test_little_noise_finds_the_task_and_much_noise_none():
    learner = DiscreteMMSE(8, noise_std=1e-4)
    w = learner.pool(4)[5]
    xs = prompts_of(4, 9).xs
    prompts = Prompts(xs, xs @ w)
    torch.testing.assert_close(learner.predict(prompts)[:, 2:], prompts.ys[:, 2:])
    vague = DiscreteMMSE(8, noise_std=1e6).weights(prompts)
    torch.testing.assert_close(vague, learner.pool(4).mean(0).expand_as(vague), atol=1e-6, rtol=0)


def test_without_a_matching_task_it_does_not_underflow():
    """Every likelihood is e^−10^8 or less."""
    prompts = Prompts(prompts_of().xs, 1e3 + prompts_of().ys)
    learner = DiscreteMMSE(8, noise_std=0.01)
    nearest = learner.weights(prompts)[:, -1]
    assert (nearest[:, None] == learner.pool(5)).all(-1).any(-1).all()


def test_a_large_pool_is_ridge_regression():
    """In one dimension 20,000 tasks are dense; the posterior mean is Monte Carlo with 1/√(20,000 σ) of error."""
    task = LinearRegression(n_dims=1, n_points=6, noise_std=0.5)
    prompts = task.sample(50, seed=0, dtype=torch.float64)
    preds = DiscreteMMSE(20_000, noise_std=0.5).predict(prompts)
    torch.testing.assert_close(preds, Ridge(0.25).predict(prompts), atol=0.08, rtol=0)


def test_it_is_the_best_learner_on_its_own_pool():
    learner = DiscreteMMSE(8, noise_std=0.5)
    rng = torch.Generator().manual_seed(0)
    xs = torch.randn(2000, 6, 4, generator=rng, dtype=torch.float64)
    w = learner.pool(4)[torch.randint(8, (2000,), generator=rng)]
    ys = torch.einsum("bnd,bd->bn", xs, w) + 0.5 * torch.randn(2000, 6, generator=rng, dtype=torch.float64)
    prompts = Prompts(xs, ys)

    def loss(other):
        return (other.predict(prompts) - ys).square().mean().item()

    rivals = [DiscreteMMSE(8, 0.25), DiscreteMMSE(8, 1.0), DiscreteMMSE(8, 0.5, seed=1), Ridge(0.25)]
    assert loss(learner) < min(map(loss, rivals))


def test_parts_of_the_prompts_are_computed_apart_with_the_same_result(monkeypatch):
    prompts, learner = prompts_of(), DiscreteMMSE(16, noise_std=0.3)
    together = learner.predict(prompts)
    monkeypatch.setattr(discrete_mmse, "AT_ONCE", 1)
    torch.testing.assert_close(learner.predict(prompts), together)


def test_its_pool_depends_on_its_fields_alone():
    assert torch.equal(DiscreteMMSE(8, 0.5).pool(4), DiscreteMMSE(8, 0.1).pool(4))
    assert not torch.equal(DiscreteMMSE(8, 0.5).pool(4), DiscreteMMSE(8, 0.5, seed=1).pool(4))
    torch.testing.assert_close(DiscreteMMSE(8, 0.5, w_std=3.0).pool(4), 3 * DiscreteMMSE(8, 0.5).pool(4))


def test_float32_prompts_are_computed_on_in_float64():
    prompts = prompts_of().to(torch.float32)
    learner = DiscreteMMSE(16, noise_std=0.3)
    assert torch.equal(learner.predict(prompts), learner.predict(prompts.to(torch.float64)))


def test_its_one_free_scalar_is_the_noise_and_a_pool_must_be_known():
    learner = DiscreteMMSE(8, 0.5, seed=2)
    moved = learner.with_parameters(learner.parameters() + math.log(2))
    assert (moved.n_tasks, moved.seed, moved.noise_std) == (8, 2, pytest.approx(1.0))
    assert learner.strength == {"σ": 0.5} and learner.label == "discrete MMSE of 8 tasks (seed 2) σ=0.5"
    assert DiscreteMMSE.sweeps(LinearRegression(n_dims=3, n_points=8)) == ()


@pytest.mark.parametrize("fields", [{"n_tasks": 0}, {"noise_std": 0.0}, {"w_std": -1.0}], ids=repr)
def test_impossible_arguments_are_refused(fields):
    with pytest.raises(ValueError, match="expected n_tasks >= 1, noise_std > 0 and w_std > 0; take a small noise_std"):
        DiscreteMMSE(**{"n_tasks": 4, "noise_std": 0.5} | fields)
