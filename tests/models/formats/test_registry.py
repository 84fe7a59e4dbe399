import pytest
import torch

from mesascope.models import HookedRegressor, LinearRegression, MesascopeError, RegressorConfig, load, save
from mesascope.models.formats import FORMATS, zoo_names

TASK = LinearRegression(n_dims=2, n_points=5)


@pytest.fixture
def folder(tmp_path):
    save(HookedRegressor(RegressorConfig.linear_self_attention(2, 5, 1)), tmp_path / "run", TASK)
    return tmp_path / "run"


@pytest.mark.parametrize("name", zoo_names())
def test_every_zoo_specimen_loads_and_has_learned_its_task(name):
    checkpoint = load(f"zoo:{name}")
    assert checkpoint.source == f"zoo:{name}" and checkpoint.about and checkpoint.command
    prompts = checkpoint.task.sample(256, seed=0)
    y = prompts.ys[:, checkpoint.model.read_points(prompts.n_points)]
    null = y.square().mean()
    assert (checkpoint.model(prompts.xs, prompts.ys) - y).square().mean() < 0.7 * null
    assert (load(f"zoo:{name}@untrained").model(prompts.xs, prompts.ys) - y).square().mean() > 0.9 * null


@pytest.mark.parametrize("suffix, seed", [("@untrained", 0), ("@untrained-3", 3)])
def test_the_untrained_twin_is_the_architecture_at_that_seed(folder, suffix, seed):
    trained, twin = load(folder), load(f"{folder}{suffix}")
    fresh = HookedRegressor(trained.model.cfg, seed)
    assert (twin.seed, twin.task, twin.model.cfg) == (seed, trained.task, trained.model.cfg)
    assert twin.source.endswith(suffix) and "Untrained twin of" in twin.about
    assert torch.equal(twin.model.attentions[0].qkv_weight, fresh.attentions[0].qkv_weight)
    assert not twin.model.training


def test_a_path_may_be_a_string_or_a_path(folder):
    assert torch.equal(load(folder).model.attentions[0].qkv_weight, load(str(folder)).model.attentions[0].qkv_weight)


def test_a_path_that_is_not_there_says_so(tmp_path):
    with pytest.raises(MesascopeError, match="absent does not exist; expected a run folder or zoo:NAME"):
        load(tmp_path / "absent")


def test_a_file_is_no_run_folder(folder):
    with pytest.raises(MesascopeError, match="config.json is a file; expected a run folder"):
        load(folder / "config.json")


def test_a_folder_without_config_is_no_run_folder(tmp_path):
    with pytest.raises(MesascopeError, match=r"expected a config.json \(mesascope\) or config.yaml \(garg\) in it"):
        load(tmp_path)


def test_an_unknown_specimen_suggests_the_nearest():
    with pytest.raises(MesascopeError, match="the zoo has no 'lsa-11'; did you mean 'lsa-1'"):
        load("zoo:lsa-11")


def test_a_specimen_without_its_prefix_is_suggested_with_it():
    with pytest.raises(MesascopeError, match="did you mean 'zoo:decoder-d5'"):
        load("decoder-d5")


@pytest.mark.parametrize("w_std", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_that_is_none_is_refused(folder, w_std):
    with pytest.raises(MesascopeError, match="is no scale; give a positive number"):
        load(folder, w_std=w_std)


def test_formats_have_names_and_markers_of_their_own():
    assert len({format.name for format in FORMATS}) == len({format.marker for format in FORMATS}) == len(FORMATS)
