from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch

from mesascope.models import HookedRegressor, LinearRegression, MesascopeError, RegressorConfig, load, save
from mesascope.models.formats import FORMATS, SOURCES, Format, checkpoints_of, registry, zoo_names
from mesascope.models.training.checkpoints import RunFolder

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
    read = checkpoint.model.read_points(prompts.n_points)
    scored = [place for place, point in enumerate(read) if point in checkpoint.task.scored(prompts.n_points)]
    trained, untrained = (
        load(f"zoo:{name}{suffix}").model(prompts.xs, prompts.ys).detach() for suffix in ("", "@untrained")
    )

    def loss(preds):
        return checkpoint.task.loss(preds, prompts.ys[:, read])[:, scored].mean()

    null = loss(torch.zeros_like(trained))
    assert loss(trained) < 0.7 * null and loss(untrained) > 0.9 * null


@pytest.mark.parametrize("suffix, seed", [("@untrained", 0), ("@untrained-3", 3)])
def test_the_untrained_twin_is_the_architecture_at_that_seed(folder, suffix, seed):
    trained, twin = load(folder), load(f"{folder}{suffix}")
    fresh = HookedRegressor(trained.model.cfg, seed)
    assert (twin.seed, twin.task, twin.model.cfg) == (seed, trained.task, trained.model.cfg)
    assert twin.source.endswith(suffix) and "Untrained twin of" in twin.about
    assert torch.equal(twin.model.attentions[0].qkv_weight, fresh.attentions[0].qkv_weight)
    assert not twin.model.training


@pytest.mark.parametrize("name", ["run@step-3", "run@untrained", "run@step-3@untrained-1"])
def test_a_folder_that_is_called_like_a_step_or_a_twin_is_the_place(folder, name):
    other = HookedRegressor(load(folder).model.cfg, seed=5)
    save(other, folder.parent / name, TASK)  # beside the run that the name would mean a part of
    found, twin = load(folder.parent / name), load(f"{folder.parent / name}@untrained-2")
    assert torch.equal(found.model.attentions[0].qkv_weight, other.attentions[0].qkv_weight)
    assert found.seed != 1 and twin.seed == 2 and name in twin.about
    assert load(f"{folder}@untrained-4").seed == 4  # what no folder is called is a twin still


def test_a_path_may_be_a_string_or_a_path(folder):
    assert torch.equal(load(folder).model.attentions[0].qkv_weight, load(str(folder)).model.attentions[0].qkv_weight)


def test_a_path_that_is_not_there_says_so(tmp_path):
    with pytest.raises(
        MesascopeError,
        match="absent does not exist; expected a run folder or zoo:NAME, an .npz file or hf://OWNER/NAME",
    ):
        load(tmp_path / "absent")


@pytest.mark.parametrize("source", ["", "@untrained", "@step-3"])
@pytest.mark.parametrize("look", [load, checkpoints_of])
def test_an_address_without_a_place_names_no_checkpoint(look, source):
    with pytest.raises(MesascopeError, match=f"^'{source}' names no checkpoint; expected a run folder or zoo:NAME"):
        look(source)


def test_a_file_is_no_run_folder(folder):
    with pytest.raises(
        MesascopeError, match="config.json is a file of no known format; expected a folder with config.json"
    ):
        load(folder / "config.json")


def test_a_folder_without_config_is_no_run_folder(tmp_path):
    with pytest.raises(
        MesascopeError, match=r"a folder of no known format; .* \(mesascope\); .* \(garg\); .* \(matrices\)$"
    ):
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


def test_formats_have_names_of_their_own_and_say_what_they_expect():
    assert len({format.name for format in FORMATS}) == len({format.expected for format in FORMATS}) == len(FORMATS)


def test_a_new_format_and_a_new_source_are_one_entry_each(folder, monkeypatch):
    class Anything(Format):
        name, expected = "anything", "anything"

        def recognises(self, path):
            return path.suffix == ".any"

        def load(self, path, w_std):
            return replace(load(folder), format=self.name)

        def steps(self, path):
            return {3: path}

    monkeypatch.setattr(registry, "FORMATS", (*FORMATS, Anything()))
    monkeypatch.setitem(SOURCES, "tape:", lambda name: nullcontext(folder / f"{name}.any"))
    loaded = load("tape:reel@step-3")
    assert (loaded.format, loaded.source) == ("anything", "tape:reel@step-3")
    assert checkpoints_of("tape:reel") == [(3, "tape:reel@step-3")]


def test_a_step_of_a_twin_and_a_twin_of_a_step_are_told_apart(folder):
    RunFolder(folder).checkpoint(4, HookedRegressor(RegressorConfig.linear_self_attention(2, 5, 1), seed=4))
    twin = load(f"{folder}@step-4@untrained-2")
    assert (twin.seed, twin.source, twin.command) == (2, f"{folder}@step-4@untrained-2", "")
    for suffix in ("@step-4", "@untrained"):
        with pytest.raises(MesascopeError, match=r"is one checkpoint of a run; give the run itself, .*run$"):
            checkpoints_of(f"{folder}{suffix}")


def test_specimens_have_steps_like_any_run():
    assert checkpoints_of("zoo:lsa-1") == []
    with pytest.raises(MesascopeError, match="zoo:lsa-1 keeps no steps"):
        load("zoo:lsa-1@step-2")


@pytest.mark.parametrize("path", ["x" * 5000, "a\0b", f"run@step-{'9' * 5000}", ""])
def test_a_path_that_no_file_can_have_is_refused_in_one_line(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MesascopeError, match="cannot read|does not exist|names no checkpoint") as caught:
        load(path)
    assert "\n" not in str(caught.value)
