import pytest
import torch

from mesascope.analyses.identification.ceiling import Stack
from mesascope.models import LeastSquares, Newton, Ridge
from mesascope.models.battery import Target
from mesascope.models.learners.zero import Zero
from tests.models.learners.prompts import prompts_of

POINTS = tuple(range(1, 12))
LEARNERS = (LeastSquares(), Ridge(1.0), Newton(3))


def target_of(predict, seed=0, n_prompts=30):
    prompts = prompts_of(n_prompts=n_prompts, seed=seed)
    return Target(prompts, POINTS, predict(prompts))


def mixed(prompts):
    """Of the bounded predictions, as the target's are."""
    none = torch.zeros(len(prompts), len(POINTS), dtype=torch.float64)
    target = Target(prompts, POINTS, none)
    return sum(c * target.predict(learner) for c, learner in zip((0.5, -0.2, 1.1), LEARNERS, strict=True))


def noisy(prompts):
    rng = torch.Generator().manual_seed(1)
    return mixed(prompts) + torch.randn(prompts.ys[:, 1:].shape, generator=rng, dtype=torch.float64)


def test_any_combination_of_learners_is_explained_on_prompts_never_fitted():
    stack = Stack(LEARNERS).fit(target_of(mixed))
    fresh = target_of(mixed, seed=1)
    torch.testing.assert_close(stack.predict(fresh), fresh.preds, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(
        (stack.coef_[:, 0] / stack.norms_), torch.tensor([0.5, -0.2, 1.1]).double(), rtol=1e-5, atol=0
    )


def test_its_residual_is_orthogonal_to_every_learner():
    target = target_of(noisy)
    left = target.preds - Stack(LEARNERS).fit(target).predict(target)
    for learner in LEARNERS:
        pred = target.predict(learner)
        assert abs((left * pred).sum()) <= 1e-9 * left.norm() * pred.norm()


def test_the_predictions_that_are_to_be_explained_are_not_looked_at():
    stack, fresh = Stack(LEARNERS).fit(target_of(mixed)), target_of(mixed, seed=1)
    other = Target(fresh.prompts, POINTS, torch.randn_like(fresh.preds))
    torch.testing.assert_close(stack.predict(other), stack.predict(fresh), rtol=0, atol=0)


def test_fitting_again_forgets():
    stack = Stack(LEARNERS).fit(target_of(noisy))
    again, once = stack.fit(target_of(mixed)).coef_, Stack(LEARNERS).fit(target_of(mixed)).coef_
    torch.testing.assert_close(again, once, rtol=0, atol=0)


@pytest.mark.parametrize("more", [(LeastSquares(),), (Zero(),), (Ridge(1.0 + 1e-12),)], ids=repr)
def test_learners_that_are_alike_or_zero_blow_nothing_up(more):
    fresh = target_of(mixed, seed=1)
    found = Stack((*LEARNERS, *more)).fit(target_of(mixed)).predict(fresh)
    torch.testing.assert_close(found, fresh.preds, rtol=1e-5, atol=1e-5)


def test_what_is_zero_is_explained_by_zero():
    stack = Stack(LEARNERS).fit(target_of(lambda prompts: torch.zeros_like(prompts.ys[:, 1:])))
    assert not stack.predict(target_of(mixed)).any()
