import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from mesascope.models import HookedRegressor, LinearRegression, MesascopeError, RegressorConfig, load, save
from mesascope.models.formats import checkpoints_of
from mesascope.models.inputs import Gaussian, Uniform
from mesascope.models.spectra import LogUniform
from mesascope.models.tasks import RepeatedSequence
from mesascope.models.training.checkpoints import RunFolder

TASK = LinearRegression(n_dims=2, n_points=5, w_std=0.3, inputs=Gaussian(spectrum=LogUniform(kappa=9)))
DECODER = RegressorConfig(n_dims=2, n_points=6, n_layers=2, n_heads=2, d_model=8, d_head=4, d_mlp=8)
MODELS = {"decoder": DECODER, "lsa": RegressorConfig.linear_self_attention(2, 6, 3)}


@pytest.fixture
def folder(tmp_path):
    save(HookedRegressor(DECODER, seed=5), tmp_path / "run", TASK, about="A decoder.")
    return tmp_path / "run"


def refused(folder, message):
    with pytest.raises(MesascopeError, match=message) as caught:
        load(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("cfg", MODELS.values(), ids=MODELS.keys())
def test_a_round_trip_changes_nothing(tmp_path, cfg):
    model = HookedRegressor(cfg, seed=5)
    save(model, tmp_path / "run", TASK)
    loaded = load(tmp_path / "run")
    assert loaded.model.cfg == cfg and loaded.task == TASK and loaded.seed == 5
    assert (loaded.format, loaded.w_std_known, loaded.model.training) == ("mesascope", True, False)
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], tensor)


def test_the_users_scale_overrules_the_folders(folder):
    overruled = load(folder, w_std=2.0)
    assert overruled.task == TASK.model_copy(update={"w_std": 2.0})
    assert not overruled.w_std_known and load(folder).w_std_known


def test_an_input_distribution_survives_the_round_trip(tmp_path):
    task = LinearRegression(n_dims=2, n_points=5, inputs=Uniform(half_width=0.25))
    save(HookedRegressor(DECODER), tmp_path / "run", task)
    assert load(tmp_path / "run").task == task


@pytest.mark.parametrize("kept", [0.0, 0.001, 0.1, 0.5, 0.999])
def test_truncated_weights_are_refused_wherever_they_end(folder, kept):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    refused(folder, "model.safetensors is truncated or no safetensors file .* copy it again")


def test_missing_weights_are_noticed(folder):
    (folder / "model.safetensors").unlink()
    refused(folder, "has a config.json but no model.safetensors; copy the whole folder")


def test_a_folder_in_place_of_the_weights_is_refused(folder):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").mkdir()
    refused(folder, "model.safetensors is truncated or no safetensors file")


@pytest.mark.parametrize("number", [float("nan"), float("-inf")])
def test_weights_that_are_not_finite_are_refused_by_name(folder, number):
    weights = load_file(folder / "model.safetensors")
    weights["blocks.1.attn.qkv_weight"][0, 0] = number
    save_file(weights, folder / "model.safetensors")
    refused(folder, "blocks.1.attn.qkv_weight holds NaN or infinite numbers; use an earlier checkpoint")


def test_missing_and_unknown_weights_are_named_together(folder):
    weights = load_file(folder / "model.safetensors")
    weights["unembed.W_u"] = weights.pop("unembed.W_U")
    save_file(weights, folder / "model.safetensors")
    refused(folder, "does not fit its config: missing 'unembed.W_U'; unknown 'unembed.W_u'")


def test_a_weight_of_another_shape_is_named(folder):
    weights = load_file(folder / "model.safetensors")
    weights["embed.W_pos"] = torch.zeros(3, 8)
    save_file(weights, folder / "model.safetensors")
    refused(folder, r"embed.W_pos has shape \(3, 8\) but the config asks for \(12, 8\); config and weights are of diff")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"model": {"n_dims": 2}}, "config.json is no run's config: model.n_points: Field required"),
        ({"sede": 3}, "sede: Extra inputs are not permitted"),
        (
            {"task": {"name": "linear_regression", "w_std": -1}},
            r"config: task\S*\.w_std: Input should be greater than 0",
        ),
    ],
    ids=repr,
)
def test_a_config_that_is_no_runs_names_the_field(folder, change, message):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    refused(folder, message)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe"])
def test_a_broken_config_is_refused(folder, content):
    (folder / "config.json").write_bytes(content)
    refused(folder, "config.json")


@pytest.fixture
def run(folder):
    for step in (0, 8, 64):
        RunFolder(folder).checkpoint(step, HookedRegressor(DECODER, seed=step))
    (folder / "checkpoints" / "step_best.safetensors").write_bytes(b"not a step")
    return folder


def test_the_steps_of_a_run_are_loaded_by_number_and_by_file(run):
    assert checkpoints_of(run) == [(step, f"{run}@step-{step}") for step in (0, 8, 64)]
    for step, address in checkpoints_of(run):
        for source in (address, run / "checkpoints" / f"step_{step}.safetensors"):
            loaded = load(source)
            assert (loaded.source, loaded.task, loaded.about) == (str(source), TASK, "A decoder.")
            assert torch.equal(loaded.model.embed.W_E, HookedRegressor(DECODER, seed=step).embed.W_E)
    assert torch.equal(load(run).model.embed.W_E, HookedRegressor(DECODER, seed=5).embed.W_E)
    assert torch.equal(load(run / "model.safetensors").model.embed.W_E, load(run).model.embed.W_E)


def test_a_run_that_kept_nothing_has_no_steps(folder):
    assert checkpoints_of(folder) == []
    refused(f"{folder}@step-3", "run keeps no steps, so no @step-3; load it without")


def test_a_step_that_was_not_kept_names_the_nearest(run):
    refused(f"{run}@step-60", "run keeps no step 60; the nearest of 3: 0, 8, 64")


def test_weights_without_their_run_are_refused(run):
    (run / "config.json").unlink()
    refused(run / "model.safetensors", "model.safetensors has no config.json of its run in .*; copy the whole run")
    refused(run / "checkpoints" / "step_8.safetensors", "step_8.safetensors has no config.json of its run")


def test_a_transformers_model_is_another_architecture(folder):
    (folder / "config.json").write_text('{"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2"}')
    refused(folder, "config.json is of a 'gpt2' model of Hugging Face's transformers; expected a run folder of")


def test_a_scale_of_w_means_nothing_to_a_discrete_task(tmp_path):
    task = RepeatedSequence()
    cfg = DECODER.model_copy(
        update={"n_dims": task.n_dims, "n_points": task.n_points, "d_out": task.d_out, "layout": "sequence"}
    )
    save(HookedRegressor(cfg), tmp_path / "run", task)
    assert load(tmp_path / "run").task == task
    with pytest.raises(MesascopeError, match="w_std=2.0 has no meaning for the task 'repeated_sequence'; leave it out"):
        load(tmp_path / "run", w_std=2.0)


def test_a_model_too_large_to_build_is_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    config["model"]["d_mlp"] = 10**13
    (folder / "config.json").write_text(json.dumps(config))
    refused(folder, "config.json: its model cannot be built")


def test_a_pickle_in_place_of_the_weights_is_refused_and_not_run(folder):
    torch.save({"a": torch.zeros(1)}, folder / "model.safetensors")
    refused(folder, "model.safetensors is truncated or no safetensors file")
