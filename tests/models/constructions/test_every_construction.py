"""What holds for all constructions: they run their learner, as hooked models like any other."""

import pytest
import torch

from mesascope.models import HookedRegressor, load, save
from tests.models.constructions.specimens import SPECIMENS


@pytest.fixture(params=list(SPECIMENS.values()), ids=list(SPECIMENS))
def specimen(request):
    return request.param


def test_it_predicts_what_its_learner_does(specimen):
    prompts, model = specimen.prompts(), specimen.build(torch.float64)
    assert isinstance(model, HookedRegressor)
    torch.testing.assert_close(model(prompts.xs, prompts.ys), specimen.expected(prompts), atol=1e-12, rtol=1e-12)


def test_it_is_built_in_float64_and_then_cast(specimen):
    double, single = specimen.build(torch.float64), specimen.build(torch.float32)
    assert all(weight.dtype == torch.float64 for weight in double.weights.values())
    assert double.cfg == single.cfg
    for name, weight in double.weights.items():
        assert torch.equal(single.weights[name], weight.float()), name
    prompts = specimen.prompts()
    low = prompts.to(torch.float32)
    torch.testing.assert_close(single(low.xs, low.ys).double(), specimen.expected(prompts), atol=1e-3, rtol=1e-3)


def test_caching_everything_changes_nothing(specimen):
    """With everything listened to, each pattern and each head's result is formed."""
    prompts, model = specimen.prompts(), specimen.build(torch.float64)
    preds, cache = model.run_with_cache(prompts.xs, prompts.ys)
    torch.testing.assert_close(preds, model(prompts.xs, prompts.ys), atol=1e-12, rtol=1e-12)
    assert set(cache.keys()) == set(model.hook_dict)


def test_the_last_y_is_never_read(specimen):
    prompts, model = specimen.prompts(), specimen.build(torch.float64)
    changed = prompts.ys.clone()
    changed[:, -1] += 2
    assert torch.equal(model(prompts.xs, changed), model(prompts.xs, prompts.ys))


def test_a_run_folder_round_trip_changes_nothing(specimen, tmp_path):
    model, prompts = specimen.build(torch.float32), specimen.prompts(dtype=torch.float32)
    save(model, tmp_path / "run", specimen.task)
    loaded = load(tmp_path / "run").model
    assert loaded.cfg == model.cfg
    assert torch.equal(loaded(prompts.xs, prompts.ys), model(prompts.xs, prompts.ys))


def test_its_weights_can_be_trained(specimen):
    model, prompts = specimen.build(torch.float64), specimen.prompts()
    model(prompts.xs, prompts.ys).square().sum().backward()
    assert all(weight.requires_grad and weight.grad is not None for weight in model.parameters())
