import math

import pytest
import torch

from mesascope.models import LeastSquares, Prompts
from mesascope.models.learners import FEATURES, FeatureLeastSquares
from tests.models.learners.prompts import prompts_of


def test_it_is_least_squares_on_the_feature_map():
    prompts = prompts_of(3, 12)
    by_hand = {"quadratic": prompts.xs**2, "fourier": torch.cat([torch.sin(prompts.xs), torch.cos(prompts.xs)], -1)}
    assert set(by_hand) == set(FEATURES)
    for name, features in by_hand.items():
        expected = LeastSquares().predict(Prompts(features, prompts.ys))
        torch.testing.assert_close(FeatureLeastSquares(name).predict(prompts), expected)
        assert (expected[:, 0] == 0).all()


def test_quadratic_features_see_squares_and_fourier_features_waves_of_any_phase():
    rng = torch.Generator().manual_seed(0)
    xs = torch.randn(4, 12, 2, dtype=torch.float64, generator=rng)
    squares = Prompts(xs, xs[..., 0] ** 2 - 3 * xs[..., 1] ** 2)
    waves = Prompts(xs[..., :1], 0.3 * torch.sin(xs[..., 0] + math.pi / 5))
    for name, seen, unseen in (("quadratic", squares, waves), ("fourier", waves, squares)):
        late = (FeatureLeastSquares(name).predict(seen) - seen.ys)[:, 4:]
        assert late.abs().max() < 1e-6
        assert (FeatureLeastSquares(name).predict(unseen) - unseen.ys)[:, 4:].abs().mean() > 0.01


def test_float32_prompts_are_computed_on_in_float64():
    prompts = prompts_of().to(torch.float32)
    learner = FeatureLeastSquares("fourier")
    assert torch.equal(learner.predict(prompts), learner.predict(prompts.to(torch.float64)))


def test_an_unknown_feature_map_suggests_the_nearest():
    with pytest.raises(ValueError, match="expected a known feature map; did you mean 'quadratic'"):
        FeatureLeastSquares("quadratics")


def test_two_of_the_same_are_equal_and_show_their_features():
    assert FeatureLeastSquares("fourier") == FeatureLeastSquares("fourier") != FeatureLeastSquares("quadratic")
    assert FeatureLeastSquares("fourier").label == "least squares on fourier features"
