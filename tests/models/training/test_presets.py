from typing import Any

import pytest

from mesascope.models import MesascopeError, RunConfig, Sine
from mesascope.models.inputs import Uniform
from mesascope.models.training import GramTraining, TokenTraining
from mesascope.models.training.presets import preset_names, read_preset

GOOD = """
model: {n_dims: 2, n_points: 7, n_layers: 1, n_heads: 2, d_model: 8, d_head: 4}
task: {name: linear_regression, n_dims: 2, n_points: 5}
training: {trainer: tokens, n_steps: 3}
"""


@pytest.fixture
def written(tmp_path):
    def write(text, name="run.yaml"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_the_zoos_presets_are_bundled():
    assert {"decoder-d5", "lsa-1", "lsa-2"} <= set(preset_names())


@pytest.mark.parametrize("name", preset_names())
def test_every_bundled_preset_is_a_run_that_says_what_it_is_about(name):
    config = read_preset(name)
    assert config.about
    assert config.model.n_dims == config.task.n_dims
    assert RunConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize("suffix", [".yaml", ".yml"])
def test_a_file_of_ones_own_is_a_preset_too(written, suffix):
    config = read_preset(written(GOOD, "mine" + suffix))
    assert (config.model.d_model, config.task.n_points) == (8, 5)
    assert config.training == TokenTraining(n_steps=3)


def test_an_unknown_preset_suggests_the_nearest():
    with pytest.raises(MesascopeError, match="no preset is called 'decoder-d50'; did you mean 'decoder-d5'"):
        read_preset("decoder-d50")


def test_a_file_that_is_not_there_says_so(tmp_path):
    with pytest.raises(MesascopeError, match="cannot read .*absent.yaml: No such file"):
        read_preset(tmp_path / "absent.yaml")


def test_a_binary_file_is_no_preset(written):
    with pytest.raises(MesascopeError, match="cannot read .*utf-8"):
        read_preset(written(b"\xff\xfe\x00"))


@pytest.mark.parametrize("text", ["model: {n_dims: 2", "a: b: c", "\tx: 1", "!!python/object/apply:os.getcwd []"])
def test_what_is_not_yaml_is_refused_in_one_line(written, text):
    with pytest.raises(MesascopeError, match="is not YAML") as caught:
        read_preset(written(text))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "old, new, complaint",
    [
        ("n_dims: 2, n_points: 7", "n_dim: 2, n_points: 7", r"model.n_dims: Field required"),
        ("n_steps: 3", "n_step: 3", r"training.tokens.n_step: Extra inputs are not permitted \(got 3\)"),
        ("n_steps: 3", "n_steps: many", r"training.tokens.n_steps: Input should be a valid integer.*\(got 'many'\)"),
        ("n_steps: 3", "n_steps: 0", r"training.tokens.n_steps: Input should be greater than or equal to 1"),
        ("n_steps: 3", "lr: .inf", r"training.tokens.lr: Input should be a finite number"),
        ("n_steps: 3", "lr: .nan", r"training.tokens.lr: Input should be a finite number"),
        ("trainer: tokens", "trainer: adam", r"training: Input tag 'adam' found .* 'tokens', 'gram'"),
        ("n_points: 5}", "n_points: 5, inputs: {kind: gaussain}}", r"inputs: Input tag 'gaussain' found"),
        ("name: linear_regression", "name: linear_regresion", r"task: Input tag 'linear_regresion' found"),
        ("name: linear_regression, ", "", r"task: Unable to extract tag using discriminator 'name'"),
        ("d_head: 4", "attention: sofmax, d_head: 4", r"model.attention: Input should be 'softmax', 'linear'"),
        (
            "d_model: 8",
            "read_in: slots, positions: none, d_model: 8",
            r"model: .*needs d_model=2 and positions 'none' or 'sinusoidal', got 8",
        ),
        ("regression, n_dims: 2", "regression, n_dims: 3", r"task.n_dims=3 but model.n_dims=2"),
        ("d_head: 4", "causal: false, d_head: 4", r"causal=False with layout='interleaved' lets a prediction attend"),
        ("d_head: 4", "layout: sequence, d_head: 4", r"linear_regression with model.layout='sequence'"),
        ("n_points: 5", "n_points: 8", r"8 points .* positions for 7"),
        ("n_steps: 3", "n_extra_points: 3", r"8 points .* positions for 7"),
    ],
)
def test_a_wrong_field_is_named_in_one_line(written, old, new, complaint):
    assert old in GOOD
    with pytest.raises(MesascopeError, match=complaint) as caught:
        read_preset(written(GOOD.replace(old, new)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "3", "[1, 2]"])
def test_yaml_that_is_no_mapping_is_refused(written, text):
    with pytest.raises(MesascopeError, match="the config: Input should be"):
        read_preset(written(text))


def test_the_limit_on_points_is_that_of_the_positions_and_slots_have_none(written):
    assert read_preset(written(GOOD.replace("n_steps: 3", "n_extra_points: 2"))).training == TokenTraining(
        n_extra_points=2
    )
    slots = GOOD.replace("d_model: 8", "read_in: slots, positions: none, d_model: 2").replace(
        "n_points: 5", "n_points: 50"
    )
    assert read_preset(written(slots)).task.n_points == 50


def test_presets_in_folders_are_called_by_their_path():
    names = preset_names()
    assert names == sorted(names) and "fu2024/isotropic" in names
    assert not any(name.endswith((".yaml", "/")) for name in names)


BASE = """
about: The base.
seed: 4
model: {n_dims: 2, n_points: 30, n_layers: 1, n_heads: 2, d_model: 8}
task: {name: linear_regression, n_dims: 2, n_points: 5, noise_std: 0.5, inputs: {kind: gaussian, scale: 2.0}}
training: {trainer: tokens, n_steps: 3, batch_size: 7, curriculum: {n_dims: {start: 1, every: 9}}}
"""


@pytest.fixture
def over(written):
    """A preset on top of `BASE`, a file beside it."""
    written(BASE, "base.yaml")
    return lambda text: read_preset(written("base: base.yaml\n" + text))


def test_a_preset_that_adds_nothing_is_its_base(over, written):
    assert over("") == read_preset(written(BASE))


def test_a_preset_changes_its_base_field_by_field_at_any_depth(over, written):
    base: Any = read_preset(written(BASE, "again.yaml"))  # of unions, whose members the file fixes
    config = over("training: {n_steps: 9, curriculum: {n_dims: {every: 2}}}\ntask: {inputs: {scale: 3.0}}\nseed: 5")
    growth = base.training.curriculum.n_dims.model_copy(update={"every": 2})
    assert (config.seed, config.about, config.model) == (5, "The base.", base.model)
    assert config.task == base.task.model_copy(update={"inputs": base.task.inputs.model_copy(update={"scale": 3.0})})
    assert (config.training.n_steps, config.training.batch_size) == (9, 7)
    assert config.training.curriculum.n_dims == growth


def test_the_same_kind_named_again_is_changed_field_by_field(over):
    config = over("training: {trainer: tokens, n_steps: 9}\ntask: {name: linear_regression, noise_std: 0.1}")
    assert (config.training.batch_size, config.task.n_points, config.task.noise_std) == (7, 5, 0.1)


def test_another_kind_replaces_the_bases_as_a_whole(over):
    config = over("task: {inputs: {kind: uniform, half_width: 0.5}}")
    assert config.task.inputs == Uniform(half_width=0.5)  # scale would be refused here
    assert config.task.noise_std == 0.5
    config = over(
        "model: {n_dims: 1}\ntask: {name: sine, n_dims: 1, n_points: 6}\ntraining: {trainer: tokens, n_steps: 4}"
    )
    assert config.task == Sine(n_points=6)
    lsa = (
        "model: {n_layers: 2, n_heads: 1, d_model: 3, layout: joint, attention: linear, causal: false, "
        "query_is_key: false, layer_norm: false, read_in: slots, read_out: slots, positions: none, "
        "attention_bias: false}"
    )
    assert over(lsa + "\ntraining: {trainer: gram, n_steps: 8}").training == GramTraining(n_steps=8)


def test_a_list_and_null_replace_the_bases_value(over):
    assert over("training: null").training is None
    assert over("model: {d_mlp: [4]}").model.d_mlp == (4,)


def test_the_width_of_a_head_follows_the_changed_model(over):
    assert over("model: {d_model: 20}").model.d_head == 10


def test_a_bundled_preset_is_a_base_for_ones_own_file(written):
    config = read_preset(written("base: fu2024/noisy\nseed: 8"))
    assert config == read_preset("fu2024/noisy").model_copy(update={"seed": 8})


def test_a_base_beside_the_file_may_have_a_base_itself(written):
    written(BASE, "base.yaml")
    written("base: base.yaml\nseed: 6", "middle.yaml")
    config = read_preset(written("base: middle.yaml\nmodel: {n_layers: 2}"))
    assert (config.seed, config.model.n_layers, config.model.d_model) == (6, 2, 8)


def test_a_base_in_another_folder_is_found_from_the_file_and_not_from_the_working_directory(written, tmp_path):
    (tmp_path / "inner").mkdir()
    written(BASE, "base.yaml")
    assert read_preset(written("base: ../base.yaml", "inner/run.yaml")).seed == 4


@pytest.mark.parametrize("spelling", ["{name}", "./{name}", "../{folder}/{name}"])
def test_a_preset_that_is_its_own_base_is_refused_however_it_is_spelled(written, tmp_path, spelling):
    for name, other in [("a.yaml", "b.yaml"), ("b.yaml", "a.yaml")]:
        written(f"base: {spelling.format(name=other, folder=tmp_path.name)}", name)
    with pytest.raises(MesascopeError, match="a.yaml: its base is itself .*a.yaml → .*b.yaml → .*a.yaml") as caught:
        read_preset(tmp_path / "a.yaml")
    assert "\n" not in str(caught.value) and str(caught.value).count("→") == 2


def test_an_unknown_base_suggests_the_nearest(written):
    with pytest.raises(MesascopeError, match="no preset is called 'fu2024/isotropc'; did you mean 'fu2024/isotropic'"):
        read_preset(written("base: fu2024/isotropc"))


def test_a_base_that_is_not_beside_the_file_is_named(written):
    with pytest.raises(MesascopeError, match="cannot read .*absent.yaml: No such file"):
        read_preset(written("base: absent.yaml"))


@pytest.mark.parametrize("base", ["3", "[a]", "null", "{a: b}"])
def test_a_base_that_is_no_name_is_refused(written, base):
    with pytest.raises(MesascopeError, match="run.yaml: base: expected the name of a preset"):
        read_preset(written(f"base: {base}"))


@pytest.mark.parametrize("text", ["3", "[1, 2]", ""])
def test_a_base_that_is_no_mapping_adds_nothing(written, text):
    written(text, "base.yaml")
    with pytest.raises(MesascopeError, match="model: Field required"):
        read_preset(written("base: base.yaml\nseed: 1"))


def test_a_wrong_field_on_top_of_a_base_is_named(over):
    with pytest.raises(MesascopeError, match=r"run.yaml: training.tokens.n_step: Extra inputs are not permitted"):
        over("training: {n_step: 3}")
