"""No test here touches the network: the cache is laid out as huggingface_hub does, or its one function is replaced."""

import os
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import numpy as np
import pytest
import torch
from huggingface_hub import constants, errors

from mesascope.models import HookedRegressor, LinearRegression, MesascopeError, RegressorConfig, load, save
from mesascope.models.formats import checkpoints_of
from mesascope.models.formats.hub import snapshot
from mesascope.models.training.checkpoints import RunFolder
from tests.models.formats.garg import TransformerModel, write_config, write_state

TASK = LinearRegression(n_dims=2, n_points=5)
LSA = RegressorConfig.linear_self_attention(2, 5, 1)
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and no way out."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


@pytest.fixture
def repository(cache):
    """The snapshot of someone/run in it, whose branch main and tag v1 are one commit."""
    root = cache / "models--someone--run"
    for ref in ("main", "v1"):
        (root / "refs").mkdir(parents=True, exist_ok=True)
        (root / "refs" / ref).write_text(COMMIT)
    (root / "snapshots" / COMMIT).mkdir(parents=True)
    return root / "snapshots" / COMMIT


def move_into_blobs(snapshot: Path):
    """Make links of all files, as the real cache has them."""
    blobs = snapshot.parents[1] / "blobs"
    blobs.mkdir()
    for number, file in enumerate(sorted(path for path in snapshot.rglob("*") if path.is_file())):
        file.rename(blobs / f"{number}")
        file.symlink_to(os.path.relpath(blobs / f"{number}", file.parent))


def refused(address, message):
    with pytest.raises(MesascopeError, match=message) as caught:
        load(address)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("address", ["hf://someone/run", "hf://someone/run@v1", f"hf://someone/run@{COMMIT}"])
def test_a_cached_run_loads_without_a_network(repository, address):
    save(HookedRegressor(LSA, seed=3), repository, TASK)
    move_into_blobs(repository)
    loaded = load(address)
    assert (loaded.source, loaded.task, loaded.format) == (address, TASK, "mesascope")
    assert torch.equal(loaded.model.attentions[0].out_weight, HookedRegressor(LSA, seed=3).attentions[0].out_weight)
    assert load(f"{address}@untrained-7").seed == 7


@pytest.mark.parametrize("address", ["hf://someone/run/a/b", "hf://someone/run@v1/a/b", "hf://someone/run/a/b/"])
def test_a_run_may_lie_deep_in_a_repository_and_has_its_steps(repository, address):
    save(HookedRegressor(LSA, seed=3), repository / "a" / "b", TASK)
    RunFolder(repository / "a" / "b").checkpoint(8, HookedRegressor(LSA, seed=8))
    move_into_blobs(repository)
    assert checkpoints_of(address) == [(8, f"{address}@step-8")]
    expected = HookedRegressor(LSA, seed=8).attentions[0].out_weight
    assert torch.equal(load(f"{address}@step-8").model.attentions[0].out_weight, expected)
    file = "hf://someone/run/a/b/checkpoints/step_8.safetensors"
    assert torch.equal(load(file).model.attentions[0].out_weight, expected)


def test_other_formats_come_from_the_hub_too(repository):
    theirs = TransformerModel()
    write_config(repository)
    write_state(repository, theirs.state_dict())
    np.savez(repository / "products.npz", W_KQ=np.eye(3), W_PV=np.eye(3))
    move_into_blobs(repository)
    assert load("hf://someone/run").format == "garg"
    assert load("hf://someone/run/products.npz").format == "matrices"


def test_what_is_not_cached_says_so(cache):
    refused("hf://someone/other", "hf://someone/other is not in the local cache and the hub cannot be reached")
    refused("hf://someone/other@v2", "hf://someone/other@v2 is not in the local cache .* go online once, or copy")


def test_a_repository_of_something_else_is_refused(repository):
    (repository / "README.md").write_text("A cake recipe.")
    refused("hf://someone/run", "hf://someone/run is a folder of no known format; expected")
    refused("hf://someone/run/absent", "hf://someone/run/absent holds nothing to load: expected a run folder")


@pytest.mark.parametrize(
    "address", ["", "someone", "someone/run@", "a/b/../../etc", "a/..", "a b/c", "a/b@x@y", "a/b/c*", "/a/b"]
)
def test_a_malformed_address_is_refused_before_anything_is_asked(address):
    refused(f"hf://{address}", r"is no address on the hub; expected hf://OWNER/NAME\[@REVISION\]\[/PATH\]")


def test_a_name_that_the_hub_forbids_is_refused(cache):
    refused("hf://a--b/c..d", "hf://a--b/c..d is no address on the hub .*check the name")


@pytest.fixture
def online(monkeypatch, tmp_path):
    """What a stand-in for the hub was asked; its answer is an attribute."""
    asked = SimpleNamespace(answer=str(tmp_path), calls=[], offline=None)

    def snapshot_download(repo, *, revision, allow_patterns, local_files_only):
        asked.calls.append((repo, revision, allow_patterns, local_files_only))
        answer = asked.offline if local_files_only else asked.answer
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return asked


def test_only_what_a_loader_reads_is_downloaded(online, tmp_path):
    save(HookedRegressor(LSA), tmp_path / "runs" / "a", TASK)
    load("hf://someone/run@v1/runs/a")
    ((repo, revision, patterns, local),) = online.calls
    assert (repo, revision, local) == ("someone/run", "v1", False)
    wanted = huggingface_hub.utils.filter_repo_objects(
        [
            "runs/a/config.json",
            "runs/a/model.safetensors",
            "runs/a/checkpoints/step_4.safetensors",
            "runs/a/trainer.pt",
            "runs/a/log.jsonl",
            "runs/b/config.json",
            "config.json",
        ],
        allow_patterns=patterns,
    )
    assert list(wanted) == [
        f"runs/a/{n}" for n in ("config.json", "model.safetensors", "checkpoints/step_4.safetensors")
    ]


def test_of_a_file_only_it_and_the_configs_around_it_are_downloaded(online):
    with pytest.raises(MesascopeError), snapshot("someone/run/a/checkpoints/step_4.safetensors"):
        pass
    assert online.calls[0][2] == [
        "a/checkpoints/step_4.safetensors",
        "a/checkpoints/config.*",
        "a/config.*",
        "config.*",
    ]


def answered(kind, status):
    request = SimpleNamespace(url="https://huggingface.co", method="GET", headers={})
    response = SimpleNamespace(status_code=status, headers={}, request=request, json=dict, text="")
    return kind(f"{status} said the hub\nand much more", response=response)


@pytest.mark.parametrize(
    "kind, message",
    [
        (
            errors.RepositoryNotFoundError,
            "the hub has no hf://someone/run@v1, or it is private; check the name, or log",
        ),
        (errors.GatedRepoError, "hf://someone/run@v1 is gated; ask for access on its page"),
        (errors.RevisionNotFoundError, "hf://someone/run@v1: there is no such revision; name a branch, a tag or a com"),
    ],
)
def test_what_the_hub_refuses_is_told_in_one_line(online, kind, message):
    online.answer = answered(kind, 404)
    refused("hf://someone/run@v1", message)


def test_a_network_that_fails_leaves_the_cache(online, tmp_path):
    save(HookedRegressor(LSA, seed=3), tmp_path / "cached", TASK)
    online.answer, online.offline = ConnectionError("no route\nto host"), str(tmp_path / "cached")
    assert torch.equal(
        load("hf://someone/run").model.attentions[0].out_weight, HookedRegressor(LSA, seed=3).attentions[0].out_weight
    )
    online.offline = errors.LocalEntryNotFoundError("nothing here")
    refused("hf://someone/run", r"is not in the local cache and the hub cannot be reached \(no route\)")
