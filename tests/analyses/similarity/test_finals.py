import pytest
import torch

from mesascope.analyses import attach, measure_similarity
from mesascope.models import IterativeLearner, LeastSquares, LinearRegression, Newton
from mesascope.probes import cosine_interval, similarity_of_errors
from mesascope.probes.similarity import similarity_of_weights

from ..conftest import WIDE, decoder
from .conftest import FEW, Mean, Zero, quick

SWAPPED = [i ^ 1 for i in range(80)]


@pytest.mark.parametrize("empty_prefix", [False, True])
def test_similarity_of_errors_is_the_mean_cosine_on_the_scored_prompts(empty_prefix):
    result = quick(Mean(), empty_prefix=empty_prefix)
    prompts = attach(Mean(), task=WIDE).prompts(80, "similarity")
    first = 0 if empty_prefix else 1
    errors = (Mean().predict(prompts) - prompts.ys)[:, first:]
    neighbours = Mean().predict(prompts)[SWAPPED]
    for match in result.errors.output.matches:
        theirs = (match.learner.predict(prompts) - prompts.ys)[:, first:]
        cosine = torch.nn.functional.cosine_similarity
        for ours, found in [
            (errors, match.similarity.value),
            (-prompts.ys[:, first:], match.zero),
            ((neighbours - prompts.ys)[:, first:], match.shuffled),
        ]:
            assert found == pytest.approx(cosine(ours, theirs, dim=-1).mean().item(), abs=1e-9)
    assert result.empty_prefix is empty_prefix and len(result.convergence.points) == 20 - first


def test_similarity_of_weights_is_the_mean_cosine_over_prefixes():
    result = quick(Mean(), n_prompts=800)
    assert result.weights is not None and result.prefixes == (2, 5, 10, 19)
    assert (result.weights.n_prompts, result.weights.n_tune) == (80, 40)
    prompts = attach(Mean(), task=WIDE).prompts(80, "similarity")
    held = (Newton(3).weights(prompts) + LeastSquares().weights(prompts)) / 2
    kept = list(result.prefixes)
    for match in result.weights.output.matches:
        assert isinstance(match.learner, IterativeLearner)
        theirs = match.learner.weights(prompts)[:, kept]
        cosines = similarity_of_weights(held[:, kept], theirs)
        assert match.similarity.value == pytest.approx(cosines.mean().item(), abs=1e-9)
        assert result.weights.by_part[match.family] == pytest.approx(cosines.mean(0).tolist(), abs=1e-9)
        shuffled = similarity_of_weights(held[SWAPPED][:, kept], theirs)
        assert match.shuffled == pytest.approx(shuffled.mean().item(), abs=1e-9)
        assert match.zero == 0 and abs(match.shuffled) < 0.2
    assert "nearest neighbours" not in result.weights.by_part


def test_predicting_zero_is_no_more_than_its_floor():
    result = quick(Zero())
    best = result.errors.output.best
    assert best.similarity.value == pytest.approx(best.zero, abs=1e-12)
    assert best.verdict == "no more than its floor"
    assert result.weights is not None
    assert all(match.similarity.value == 0 == match.floor for match in result.weights.output.matches)


def test_the_floor_of_the_twins_is_their_own_similarity():
    task = LinearRegression(n_dims=3, n_points=8)
    scope = attach(decoder(), task=task)
    result = measure_similarity(scope, n_prompts=160, n_fit=400, rivals=FEW)
    prompts = scope.prompts(40, "similarity")
    for match in result.errors.output.matches:
        theirs = match.learner.predict(prompts)[:, 1:]
        each = [
            similarity_of_errors(twin.predict(prompts)[:, 1:], theirs, prompts.ys[:, 1:].double()).mean()
            for twin in scope.untrained
        ]
        expected = cosine_interval(torch.stack(each))
        assert match.untrained is not None
        assert (match.untrained.value, *match.untrained.ci) == pytest.approx((expected.value, *expected.ci), abs=1e-6)
