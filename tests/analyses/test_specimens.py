import json

import pytest

from mesascope.analyses import attach
from mesascope.analyses.specimens import Specimen, _kind, _relative_losses, describe_task, survey_zoo
from mesascope.models import LinearRegression, RegressorConfig, RepeatedSequence, Sine
from mesascope.models.formats import zoo_names
from mesascope.models.training.presets import read_preset

pytestmark = pytest.mark.skipif(not zoo_names(), reason="the zoo is filled by `make zoo`")


@pytest.fixture(scope="module")
def surveyed() -> tuple[list[Specimen], list[str]]:
    started: list[str] = []
    return survey_zoo(n_prompts=100, on_specimen=started.append), started


def test_every_specimen_has_a_row_in_order(surveyed):
    specimens, started = surveyed
    assert [specimen.name for specimen in specimens] == [f"zoo:{name}" for name in zoo_names()]
    assert started == zoo_names()


@pytest.mark.parametrize("index", range(len(zoo_names())), ids=zoo_names())
def test_a_row_says_what_the_checkpoint_is(surveyed, index):
    found = surveyed[0][index]
    scope = attach(found.name)
    assert found.layers == scope.hooked.cfg.n_layers and found.d == scope.task.n_dims
    assert found.points == scope.task.n_points and found.task == describe_task(scope.task)
    # Tied layers count once.
    assert found.weights == sum(weight.numel() for weight in scope.hooked.weights.values())
    assert scope.checkpoint is not None and found.about == scope.checkpoint.about != ""
    assert list(found.columns()) == list(surveyed[0][0].columns())
    assert all(isinstance(cell, str) and cell for cell in found.columns().values())
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["name"] == found.name


@pytest.mark.parametrize("index", range(len(zoo_names())), ids=zoo_names())
def test_a_trained_specimen_beats_predicting_zero(surveyed, index):
    found = surveyed[0][index]
    assert 0 <= found.loss < 0.9
    assert 0 <= found.reference_loss < 1
    assert found.reference


def test_the_loss_is_the_mean_over_components_and_late_points(surveyed):
    found = next(specimen for specimen in surveyed[0] if specimen.name == "zoo:decoder-d5")
    scope, parts = attach(found.name), []
    for task in scope.task.components().values():
        prompts = task.sample(100, seed=0, stream="zoo")
        late = slice(task.n_dims + 3, None)
        missed = (scope.predict(prompts) - prompts.ys).square()[:, late].mean()
        parts.append(missed / prompts.ys[:, late].square().mean())
    assert len(parts) == 2 and found.loss == pytest.approx(float(sum(parts)) / 2, rel=1e-5)


def test_linear_self_attention_is_held_against_its_rival(surveyed):
    rows = {specimen.name: specimen for specimen in surveyed[0]}
    assert rows["zoo:lsa-2"].reference.startswith("GD++ k=2")
    scope = attach("zoo:lsa-2")
    assert scope.checkpoint is not None and scope.checkpoint.reference is not None
    # a hundred prompts would not tell 1% from 20%
    loss, reference = _relative_losses(scope, scope.task, scope.checkpoint.reference, 8000)
    assert loss == pytest.approx(reference, rel=0.05)
    assert rows["zoo:decoder-isotropic"].reference == "least squares"


@pytest.mark.parametrize(
    "cfg, kind",
    [
        (read_preset("lsa-1").model, "linear"),
        (read_preset("vonoswald/separate-tokens").model, "softmax + linear"),
        (read_preset("vonoswald/sine").model, "mlp + linear"),
        (read_preset("vonoswald/sine-gd").model, "mlp + gradient step"),
        (read_preset("fu2024/lstm").model, "lstm"),
        (RegressorConfig(n_dims=2, n_points=3, n_layers=4, d_model=4), "softmax"),
    ],
)
def test_a_kind_is_named_by_its_layers(cfg, kind):
    assert _kind(cfg) == kind


@pytest.mark.parametrize(
    "task, text",
    [
        (LinearRegression(), "linear regression, gaussian isotropic"),
        (Sine(), "sine, uniform(half_width=5)"),
        (RepeatedSequence(), "repeated sequence"),
    ],
)
def test_a_task_is_described_with_its_inputs(task, text):
    assert describe_task(task) == text


@pytest.mark.parametrize("layers, text", [(1, "1 lstm"), (2, "2 lstm")])
def test_the_table_shows_what_fits_into_a_terminal(layers, text):
    found = Specimen("zoo:x", "lstm", layers, 12345, "sine", 1, 11, None, 0.12345, 0.0, "GD++ k=1", "GD++", "")
    assert found.columns() == {
        "zoo:": "x",
        "layers": text,
        "task": "sine d=1",
        "loss": "0.123",
        "reference": "0 GD++",
    }
    assert found.to_json()["seed"] is None and found.to_json()["weights"] == 12345
