import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import jaxtyping
import pytest
from hypothesis import settings

from mesascope.models import LinearRegression, RegressorConfig, RunConfig, train
from mesascope.models.training import GramTraining

# The same examples in every run, and no timed tests: the first call of a function pays for its shape checks.
settings.register_profile("mesascope", deadline=None, derandomize=True)
settings.load_profile("mesascope")


@pytest.fixture
def unchecked_shapes() -> Iterator[None]:
    """Do not execute annotations: a user's mistake meets the library's own error, not the tests' type checker."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(autouse=True)
def quick_shapes_only(request: pytest.FixtureRequest) -> None:
    """Slow tests execute no shapes, which would make them three times as long: quick ones do so in the same code."""
    if request.node.get_closest_marker("slow"):
        request.getfixturevalue("unchecked_shapes")


def unavailable(what: str) -> NoReturn:
    """Skip a test that has no browser; a failure where one is required, as in CI (`MESASCOPE_BROWSER=required`)."""
    if os.environ.get("MESASCOPE_BROWSER") == "required":
        pytest.fail(f"MESASCOPE_BROWSER=required, and {what}")
    pytest.skip(what)


def find_chromium() -> str:
    """Where Chromium or Chrome is."""
    names = (os.environ.get("BROWSER_PATH", ""), "chromium", "chromium-browser", "google-chrome")
    found = [path for name in names if (path := shutil.which(name))]
    if not found:
        unavailable("no Chromium or Chrome is installed (on Debian: apt install chromium)")
    return found[0]


@pytest.fixture(scope="session")
def chromium_path() -> str:
    """For every test that draws or opens a page in a browser."""
    return find_chromium()


def tiny(about: str = "A specimen for tests.") -> RunConfig:
    """One layer of linear self-attention in two dimensions; trains in a few seconds."""
    return RunConfig(
        about=about,
        model=RegressorConfig.linear_self_attention(n_dims=2, n_points=7, n_layers=1),
        task=LinearRegression(n_dims=2, n_points=7),
        training=GramTraining(n_steps=60, batch_size=256, polish_pool=1024),
    )


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of a model that has learned something."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    train(tiny(), out)
    return out
