import torch

from mesascope.models import GradientDescent
from mesascope.models.learners import Averaging
from tests.models.learners.prompts import at_every_prefix, prompts_of


def test_it_is_the_mean_of_y_times_x():
    prompts = prompts_of()
    expected = at_every_prefix(prompts, lambda X, y: (y[:, None] * X).sum(0) / max(len(X), 1))
    torch.testing.assert_close(Averaging().predict(prompts), expected)


def test_it_is_one_gradient_step_of_size_one():
    prompts = prompts_of()
    torch.testing.assert_close(Averaging().predict(prompts), GradientDescent(1, 1.0).predict(prompts))


def test_it_finds_w_in_the_limit_for_isotropic_x_and_not_for_others():
    for kappa, consistent in ((1.0, True), (30.0, False)):
        prompts = prompts_of(3, 4000, n_prompts=5, kappa=kappa)
        assert prompts.w is not None
        w = torch.einsum("bni,bn->bi", prompts.xs, prompts.ys) / 4000  # by hand: 4000 prefixes are not needed
        assert ((w - prompts.w).norm(dim=-1).max() < 0.25) == consistent
