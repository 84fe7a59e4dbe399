"""Every way in which a foreign folder can be wrong ends in one line, and none in running its code."""

from pathlib import Path

import pytest
import torch

from mesascope.models import MesascopeError, load
from mesascope.models.foreign_files import read_pickle_safely
from tests.models.formats.garg import TransformerModel, write_config, write_state


@pytest.fixture(scope="module")
def state():
    return TransformerModel().state_dict()


@pytest.fixture
def folder(tmp_path, state):
    write_config(tmp_path)
    write_state(tmp_path, state)
    return tmp_path


def refused(folder, message):
    with pytest.raises(MesascopeError, match=message) as caught:
        load(folder)
    assert "\n" not in str(caught.value)


class Hostile:
    """A pickle that creates a file when it is loaded carelessly."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("name", ["state.pt", "model_10.pt"])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_wants_to_run_code_is_refused_and_not_run(folder, tmp_path, name, zipped):
    marker = tmp_path / "it-ran"
    (folder / "state.pt").unlink()
    torch.save({"model_state_dict": Hostile(marker)}, folder / name, _use_new_zipfile_serialization=zipped)
    refused(folder, f"{name} was refused: .* loading it could run code .*save a bare state_dict")
    assert not marker.exists()
    torch.load(folder / name, weights_only=False)  # the control: carelessness would have run it
    assert marker.exists()


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("kept", [0.0, 0.01, 0.3, 0.6, 0.99])
def test_truncated_weights_are_refused_wherever_they_end(folder, state, kept, zipped):
    path = folder / "state.pt"
    torch.save({"model_state_dict": state}, path, _use_new_zipfile_serialization=zipped)
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    refused(folder, "state.pt (cannot be read: truncated|was refused)")


def test_a_text_file_is_no_weights(folder):
    (folder / "state.pt").write_text("hello")
    refused(folder, "state.pt cannot be read: truncated or no torch file")


def test_a_folder_in_place_of_the_weights_is_refused(tmp_path):
    with pytest.raises(MesascopeError, match="cannot be read"):
        read_pickle_safely(tmp_path)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(folder, state, number):
    bad = {name: tensor.clone() for name, tensor in state.items()}
    bad["_backbone.h.1.mlp.c_fc.weight"][3, 4] = number
    write_state(folder, bad)
    refused(folder, "blocks.1.mlp.W_in holds NaN or infinite numbers; use an earlier checkpoint")


def test_a_missing_weight_is_named(folder, state):
    write_state(folder, {name: t for name, t in state.items() if name != "_backbone.h.0.ln_1.bias"})
    refused(folder, "does not fit its config: missing 'blocks.0.ln1.b'; keep the config of the run")


def test_a_weight_that_is_there_twice_is_refused(folder, state):
    write_state(folder, state | {"module._read_in.bias": torch.zeros(16)})
    refused(folder, "'_read_in.bias' is there twice, with and without `module.`; keep one")


def test_an_unknown_name_is_not_taken_for_a_template(folder, state):
    write_state(folder, state | {"_backbone.h.0.{a.b}": torch.zeros(1)})
    refused(folder, r"unknown '_backbone.h.0.\{a.b\}'")


def test_an_unknown_weight_is_named(folder, state):
    write_state(folder, state | {"_extra": torch.zeros(1), "_more": torch.zeros(1)})
    refused(folder, "does not fit its config: unknown '_extra' and 1 more")


@pytest.mark.parametrize("what", ["_read_in.weight", "_backbone.h.0.attn.c_attn.weight"])
def test_a_weight_of_another_shape_is_named(folder, state, what):
    write_state(folder, state | {what: torch.zeros(2, 2)})
    refused(folder, r"has shape \(2, 2\) but the config asks for .* of different models")


@pytest.mark.parametrize("model", [{"n_layer": 3}, {"n_layer": 1}, {"n_embd": 20}, {"n_dims": 4}], ids=repr)
def test_a_config_of_another_model_is_noticed(folder, model):
    write_config(folder, model=model)
    refused(folder, "of different models")


@pytest.mark.parametrize("content", [3, [1, 2], {"model_state_dict": 3}, {"a": 1}, {0: torch.zeros(1)}], ids=repr)
def test_what_is_no_state_dict_is_refused(folder, content):
    torch.save(content, folder / "state.pt")
    refused(folder, "holds no state_dict .* expected name → tensor")


def test_a_state_dict_of_something_else_is_refused(folder):
    write_state(folder, {"fc.weight": torch.zeros(2, 2)})
    refused(folder, "no _backbone.wpe.weight: not a GPT-2 backbone")


@pytest.mark.parametrize(
    "odd",
    [torch.zeros(16).to_sparse(), torch.zeros(16, dtype=torch.complex64), torch.zeros(16, device="meta")],
    ids=["sparse", "complex", "meta"],
)
def test_a_weight_that_is_no_plain_array_is_refused(folder, state, odd):
    write_state(folder, state | {"_backbone.h.0.ln_1.bias": odd})
    refused(folder, "blocks.0.ln1.b is no plain array of real numbers .* save it dense and real|state.pt was refused")


def test_a_number_beyond_float32_is_not_finite(folder, state):
    write_state(folder, state | {"_backbone.h.0.ln_1.bias": torch.full((16,), 1e300, dtype=torch.float64)})
    refused(folder, "blocks.0.ln1.b holds NaN or infinite numbers")


@pytest.mark.parametrize("model", [{"n_layer": 10**9}, {"n_embd": 10**9}, {"n_positions": 10**9}], ids=repr)
def test_a_config_of_a_giant_is_refused_before_one_is_built(folder, model):
    write_config(folder, model=model)
    refused(
        folder, "config asks for .*; config and weights are of different models|n_layer=1000000000; expected at most"
    )


def test_the_hostile_pickle_is_refused_by_its_own_name_too(folder, tmp_path):
    torch.save(Hostile(tmp_path / "it-ran"), folder / "model_10.pt")
    for address in (folder / "model_10.pt", f"{folder}@step-10"):
        refused(address, "model_10.pt was refused: .* loading it could run code")
    assert not (tmp_path / "it-ran").exists()


def test_a_file_without_its_config_is_refused(folder):
    (folder / "config.yaml").unlink()
    refused(folder / "state.pt", "state.pt has no config.yaml beside it; copy the whole run folder")


def test_a_config_without_weights_is_refused(folder):
    (folder / "state.pt").unlink()
    refused(folder, "neither state.pt nor model_<step>.pt")


@pytest.mark.parametrize(
    "text, message",
    [
        ("model: {", "is not YAML"),
        ("!!python/object/apply:os.getcwd []", "is not YAML"),
        ("", "has no `model` and `training`"),
        ("training: {}", "has no `model` and `training`"),
        ("model: 3\ntraining: 4", "has no `model` and `training`"),
        ("model: {}\ntraining: {}", r"lacks a field or has it ill-typed \('family'\)"),
        ("model: 2001-99-99", "is not YAML"),
        ("[" * 1000, "is not YAML"),
        ("model: {family: gpt2}\ntraining: {}", r"lacks a field or has it ill-typed \('n_layer'\)"),
    ],
)
def test_a_config_that_is_not_theirs_is_refused(folder, text, message):
    (folder / "config.yaml").write_text(text)
    refused(folder, message)


def test_a_binary_config_cannot_be_read(folder):
    (folder / "config.yaml").write_bytes(b"\xff\xfe")
    refused(folder, "cannot read .*config.yaml")


@pytest.mark.parametrize(
    "model, training, message",
    [
        ({"family": "lstm"}, {}, "model.family='lstm' is not supported; expected 'gpt2'"),
        ({"n_head": 0}, {}, "lacks a field or has it ill-typed"),
        ({"n_layer": "two"}, {}, "lacks a field or has it ill-typed"),
        ({"n_dims": "two"}, {}, "does not describe a model"),
        ({"use_first_n_layer": 1}, {}, "use_first_n_layer=1 of n_layer=2 is not supported; expected the whole model"),
        ({"n_positions": 4}, {}, "points.end=5 but model.n_positions=4"),
        ({}, {"task": "decision_treee"}, "task='decision_treee' is no task here; did you mean 'decision_tree'"),
        ({}, {"task_kwargs": {"sparsity": 3}}, "task_kwargs.sparsity is no option of linear_regression; known: scale"),
        ({}, {"task": "sparse_linear_regression", "task_kwargs": {"sparsity": 9}}, "sparsity=9 but n_dims=3"),
        ({}, {"data_kwargs": {"bias": 1}}, "data_kwargs={'bias': 1} is not supported; expected {}"),
        ({}, {"curriculum": {}}, r"lacks a field or has it ill-typed \('points'\)"),
        ({}, {"task_kwargs": [1]}, "lacks a field or has it ill-typed"),
        ({}, {"task": "noisy_linear_regression", "task_kwargs": {"noise_std": -1}}, "does not describe a model"),
    ],
    ids=repr,
)
def test_an_unsupported_or_impossible_field_is_refused(folder, model, training, message):
    write_config(folder, model, training)
    refused(folder, message)


@pytest.mark.parametrize(
    "old, new, message",
    [
        (
            "data: gaussian",
            "data: sparse_weird",
            "training.data='sparse_weird' is no input distribution here; known: gaussian, skew",
        ),
        (
            "task_kwargs: {}",
            "task_kwargs: {renormalize_ys: true}",
            "renormalize_ys=True is not supported; expected False",
        ),
    ],
)
def test_a_task_that_would_be_another_one_is_refused(folder, old, new, message):
    config = folder / "config.yaml"
    text = config.read_text()
    assert old in text
    config.write_text(text.replace(old, new))
    refused(folder, message)


def test_aliases_that_stand_for_more_than_memory_holds_are_refused(folder):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    (folder / "config.yaml").write_text("\n".join([*lines, "model: {n_dims: *a8}", "training: {}"]))
    refused(folder, "is not YAML .*aliases are not accepted")
