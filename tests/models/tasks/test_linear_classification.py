import math
from dataclasses import replace

import pytest
import torch

from mesascope.models.inputs import Uniform
from mesascope.models.learners import LogisticRegression
from mesascope.models.tasks import LinearClassification


def test_labels_are_the_signs_of_the_hyperplanes_sides():
    prompts = LinearClassification().sample(50, seed=0, dtype=torch.float64)
    assert torch.equal(prompts.ys, torch.einsum("bnd,bd->bn", prompts.xs, prompts.w).sign())


def test_a_point_on_the_hyperplane_has_a_label_too():
    drawn = LinearClassification().draw(3, torch.Generator().manual_seed(0), 0)
    assert (drawn.xs == 0).all() and (drawn.ys == 1).all()


def test_noise_flips_as_many_labels_as_the_probit_model_says():
    """P(sign(s + σε) ≠ sign(s)) for s ~ N(0, |w|²) is arctan(σ/|w|)/π."""
    task = LinearClassification(n_dims=4, noise_std=2.0)
    prompts = task.sample(4000, seed=0, dtype=torch.float64)
    assert prompts.w is not None
    flipped = prompts.ys != torch.einsum("bnd,bd->bn", prompts.xs, prompts.w).sign()
    excess = flipped.double().mean(1) - torch.arctan(2 / prompts.w.norm(dim=-1)) / math.pi
    assert abs(excess.mean()) < 4 * excess.std() / 4000**0.5
    assert flipped.double().mean() > 0.2
    assert set(prompts.ys.unique().tolist()) == {-1.0, 1.0}


def test_the_loss_is_minus_the_log_probability_of_the_label():
    logits, ys = torch.tensor([2.0, 2.0, -800.0]).double(), torch.tensor([1.0, -1.0, 1.0]).double()
    p = 1 / (1 + math.exp(-2))
    expected = torch.tensor([-math.log(p), -math.log(1 - p), 800.0]).double()
    torch.testing.assert_close(LinearClassification().loss(logits, ys), expected)


def best_of(task):
    best = task.references()[0]
    assert isinstance(best, LogisticRegression)
    return best


def test_its_reference_knows_the_noise_and_the_scale_of_x():
    def prior(**fields):
        return best_of(LinearClassification(**fields)).prior_variance

    assert prior() == pytest.approx(10) and prior(n_dims=20) == pytest.approx(2.5)
    assert prior(inputs=Uniform(half_width=3)) == pytest.approx(10 / 3)
    assert prior(noise_std=2.0, w_std=1.5) == pytest.approx((1.7 * 1.5 / 2) ** 2)
    assert prior(noise_std=1e-3) == prior()


def test_its_prior_is_better_than_others_by_far():
    task = LinearClassification(n_dims=3, n_points=12)
    prompts = task.sample(15, seed=0, dtype=torch.float64)
    best = best_of(task)
    rivals = [replace(best, prior_variance=best.prior_variance * factor) for factor in (0.03, 1, 30)]
    losses = [task.loss(learner.predict(prompts), prompts.ys).mean() for learner in rivals]
    assert losses[1] < losses[0] and losses[1] < losses[2]
