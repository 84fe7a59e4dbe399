import pytest
import torch

from mesascope.analyses import attach
from mesascope.analyses.fitting import fitted
from mesascope.analyses.layers import (
    as_subject,
    layer_label,
    layer_readers,
    predict_layers,
    predict_layers_on,
    read_layers,
)
from mesascope.models import GradientDescent, HookedRegressor, LinearRegression, Newton
from mesascope.models.interfaces import SlotReadOut

from .conftest import STEP_TASK, decoder

TASK = LinearRegression(n_dims=3, n_points=8)


def test_a_bare_predictor_has_its_output_alone():
    scope = attach(Newton(3), task=TASK)
    found = predict_layers(scope, 20, "identify", n_fit=100)
    assert found.labels == ("output",)
    torch.testing.assert_close(found.preds[0], Newton(3).predict(found.prompts))


def test_where_tokens_are_the_stream_the_models_own_read_out_reads_every_layer(predicts_y: HookedRegressor):
    scope = attach(predicts_y, task=STEP_TASK)
    assert isinstance(predicts_y.unembed, SlotReadOut)
    found = predict_layers(scope, 20, "identify", n_fit=100)
    assert found.labels == ("input", "layer 1", "output")
    start, one, output = found.preds
    assert not start.any()  # the query's slot is empty
    torch.testing.assert_close(one, output)
    exact = GradientDescent(1, 1.0).predict(found.prompts)[:, -1:]  # 1/8 of eight points
    torch.testing.assert_close(output, exact, rtol=1e-4, atol=1e-4)  # float32


def test_other_layers_are_read_by_readouts_fitted_to_y_on_other_prompts():
    scope = attach(decoder(n_layers=1), task=TASK)
    found = predict_layers(scope, 20, "identify", n_fit=400)
    assert found.labels == ("input", "layer 1", "final norm", "output")
    assert found.preds.shape == (4, 20, 8) and found.preds.dtype == torch.float64
    torch.testing.assert_close(found.preds[-1], scope.predict(found.prompts))
    hook = "ln_final.hook_normalized"
    _, cache = scope.hooked.run_with_cache(found.prompts.xs, found.prompts.ys, names_filter=hook)
    resid = cache[hook][:, scope.hooked.read_positions(8)]
    readout = fitted(scope, "y", 400).readouts[hook]
    torch.testing.assert_close(readout.predict(resid)[..., 0].double(), found.preds[2])


def test_prompts_at_hand_are_predicted_as_those_of_a_stream():
    scope = attach(decoder(n_layers=1), task=TASK)
    one = predict_layers(scope, 20, "identify", n_fit=400)
    other = predict_layers_on(scope, scope.prompts(20, "identify"), 400)
    torch.testing.assert_close(one.preds, other.preds)


def test_layers_of_many_prompts_are_those_of_each(monkeypatch):
    import mesascope.analyses.layers as module

    scope = attach(decoder(n_layers=1), task=TASK)
    prompts = scope.prompts(20, "identify")
    readers = layer_readers(scope, 400)
    whole = read_layers(scope.hooked, prompts, readers)
    monkeypatch.setattr(module, "BATCH", 7)
    parts = read_layers(scope.hooked, prompts, readers)
    assert list(parts) == list(whole) == [*scope.hooked.residual_hooks, "output"]
    for hook in whole:
        torch.testing.assert_close(parts[hook], whole[hook], rtol=1e-5, atol=1e-5)  # float32 products


@pytest.mark.parametrize(
    "hook, label",
    [
        ("blocks.0.hook_resid_pre", "input"),
        ("blocks.2.hook_resid_post", "layer 3"),
        ("ln_final.hook_normalized", "final norm"),
    ],
)
def test_hooks_in_words(hook, label):
    assert layer_label(hook) == label


@pytest.mark.parametrize("label, words", [("output", "The output"), ("layer 3", "The reading of layer 3")])
def test_layers_as_subjects_of_sentences(label, words):
    assert as_subject(label) == words
