import pytest
import torch

from mesascope.analyses import attach
from mesascope.analyses.comparison.difference import subtract
from mesascope.analyses.comparison.paired import common_points, measure_pairs
from mesascope.models import HookedRegressor, MesascopeError, RegressorConfig
from mesascope.models.training.presets import read_preset

from ..conftest import STEP_TASK, decoder


@pytest.fixture(scope="module")
def scopes():
    return [attach(decoder(seed)) for seed in (0, 1)]


@pytest.fixture(scope="module")
def paired(scopes):
    return measure_pairs(scopes, 200)


def test_sums_are_those_of_all_prompts_at_once(scopes, paired):
    prompts = scopes[0].prompts(200, "comparison")
    first, second = (scope.predict(prompts) for scope in scopes)
    ys = prompts.ys.double()
    null = ys.square().sum()
    assert paired.loss(1).value == pytest.approx(float((second - ys).square().sum() / null))
    assert paired.excess(1).value == pytest.approx(paired.loss(1).value - paired.loss(0).value)
    assert paired.distance(1).value == pytest.approx(float((second - first).square().sum() / null))


def test_a_model_beside_itself_is_nothing_away(scopes):
    paired = measure_pairs([scopes[0], scopes[0]], 40)
    for found in (paired.distance(1), paired.excess(1)):
        assert found is not None and found.ci == (0.0, 0.0)


def test_pairing_says_more_than_two_intervals(garg):
    """The same prompts are hard for a model and for the same with a little noise on its weights."""
    other = attach(HookedRegressor(garg.hooked.cfg), task=garg.task)
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for noisy, weight in zip(other.hooked.parameters(), garg.hooked.parameters(), strict=True):
            noisy.copy_(weight + 0.01 * weight.std(correction=0) * torch.randn(weight.shape, generator=rng))
    paired = measure_pairs([garg, other], 400)
    mine, theirs, excess = paired.loss(1), paired.loss(0), paired.excess(1)
    assert mine is not None and theirs is not None and excess is not None
    apart = subtract(mine, theirs)
    narrow, wide = (found.high - found.low for found in (excess, apart))
    assert narrow < wide / 3


def test_only_points_that_all_read_are_compared():
    """Linear self-attention answers the query alone."""
    layer = HookedRegressor(RegressorConfig.linear_self_attention(3, 8, 1))
    task = STEP_TASK.model_copy(update={"n_points": 8})
    scopes = [attach(model, task=task) for model in (decoder(), layer)]
    assert common_points(scopes) == [7]
    prompts = scopes[0].prompts(40, "comparison")
    paired = measure_pairs(scopes, 40)
    error = (scopes[1].predict(prompts)[:, 0] - prompts.ys[:, 7].double()).square().sum()
    assert paired.losses[1].sum().item() == pytest.approx(float(error))


def test_models_without_a_common_point_are_refused(monkeypatch):
    scopes = [attach(decoder()) for _ in range(2)]
    monkeypatch.setattr(scopes[0].model, "read_points", lambda n: range(0, 3))
    monkeypatch.setattr(scopes[1].model, "read_points", lambda n: range(7, 8))
    with pytest.raises(MesascopeError, match="no point is read by all: .* reads points 0 to 2; .* reads point 7"):
        common_points(scopes)


@pytest.fixture(scope="module")
def diverged():
    model = decoder(2)
    with torch.no_grad():
        model.attentions[0].W_V.fill_(torch.nan)
    return attach(model)


def test_a_model_that_predicts_nan_costs_itself_alone(scopes, paired, diverged):
    found = measure_pairs([scopes[0], diverged, scopes[1]], 200)
    assert list(found.failed) == [1]
    assert found.failed[1].startswith("a hooked model predicts NaN or infinity on 10 of 10 prompts; take ")
    assert found.loss(1) is found.excess(1) is found.distance(1) is None
    for mine, theirs in ((found.loss, paired.loss), (found.excess, paired.excess), (found.distance, paired.distance)):
        assert mine(2) == theirs(1)


def test_without_the_first_model_losses_are_known_and_nothing_is_subtracted(scopes, paired, diverged):
    found = measure_pairs([diverged, scopes[1]], 200)
    assert found.loss(1) == paired.loss(1) and found.excess(1) is found.distance(1) is None


class Broken:
    """A predictor with a mistake of its own."""

    def predict(self, prompts):
        raise ZeroDivisionError


def test_a_predictor_that_breaks_costs_itself_alone(scopes):
    found = measure_pairs([scopes[0], attach(Broken(), task=scopes[0].task)], 40)
    assert "failed on prompts of 8 points in 3 dimensions: ZeroDivisionError: without a word; let" in found.failed[1]


def test_a_mistake_of_ours_in_predictions_is_raised(scopes, monkeypatch):
    broken = attach(decoder())
    monkeypatch.setattr(broken.hooked, "forward", lambda xs, ys: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        measure_pairs([scopes[0], broken], 40)


def test_too_few_prompts_are_refused(scopes):
    with pytest.raises(MesascopeError, match="n_prompts=19: a comparison needs at least 20"):
        measure_pairs(scopes, 19)


def test_tokens_are_no_numbers_to_be_apart():
    preset = read_preset("induction")
    scopes = [attach(HookedRegressor(preset.model, seed), task=preset.task) for seed in (0, 1)]
    paired = measure_pairs(scopes, 20)
    loss = paired.loss(1)
    assert paired.distance(1) is None and loss is not None
    assert 0.9 < loss.value < 1.5  # untrained: no better than chance
