import pytest

from mesascope.models import MesascopeError, RunConfig
from mesascope.models.training import TokenTraining
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
