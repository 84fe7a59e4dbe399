import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from mesascope.models import HookedRegressor, LinearRegression, MesascopeError, RegressorConfig, load, save
from mesascope.models.inputs import Gaussian, Uniform
from mesascope.models.spectra import LogUniform

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
        ({"task": {"name": "linear_regression", "w_std": -1}}, "task.w_std: Input should be greater than 0"),
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
