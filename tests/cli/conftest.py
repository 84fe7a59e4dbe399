import json
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mesascope import analyses
from mesascope.analyses import registry, specimens
from mesascope.cli import main

from ..conftest import tiny

Run = Callable[..., tuple[int, str, str]]


GARG = Path(__file__).parent.parent / "data" / "garg-d5"
PERFORMANCE = {"performance": registry.ANALYSES["performance"]}
"""A report of the cheapest analysis."""


class Here:
    """Jobs of a sweep in this process."""

    asked: dict[str, object] = {}

    def __init__(self, *arguments: object) -> None:
        type(self).asked = {"arguments": arguments}

    def run(self, work: Callable[[Any], Any], jobs: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
        for job in jobs:
            yield job, work(job)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The program with these arguments: exit code, stdout, stderr."""
    monkeypatch.setenv("COLUMNS", "200")

    def program(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mesascope", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 0
        out, err = capsys.readouterr()
        return code, out, err

    return program


@pytest.fixture(autouse=True)
def few_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same analyses on fewer prompts than are worth believing."""
    monkeypatch.setattr(specimens, "survey_zoo", partial(specimens.survey_zoo, 40))
    monkeypatch.setattr(analyses, "fit_readouts", partial(analyses.fit_readouts, n_scored=400))
    monkeypatch.setattr(registry, "fit_readouts", partial(registry.fit_readouts, n_scored=100))
    monkeypatch.setattr(registry, "identify", partial(registry.identify, n_prompts=200, n_tune=80, shifts=False))
    monkeypatch.setattr(registry, "measure_response", partial(registry.measure_response, n_prompts=100))
    monkeypatch.setattr(registry, "measure_similarity", partial(registry.measure_similarity, n_prompts=800))
    heads = partial(registry.find_induction, n_prompts=40, n_scored=40, weigh=False)
    monkeypatch.setattr(registry, "find_induction", heads)
    monkeypatch.setattr(registry, "trace_causes", partial(registry.trace_causes, n_prompts=160, n_pairs=40))


@pytest.fixture
def preset(tmp_path: Path) -> Path:
    """A preset of three steps; JSON is YAML."""
    path = tmp_path / "mine.yaml"
    config = tiny().model_dump(mode="json")
    config["training"] |= {"n_steps": 3, "batch_size": 8}
    path.write_text(json.dumps(config))
    return path


def is_one_line_error(err: str, *parts: str) -> bool:
    return (
        err.startswith("error: ")
        and err.count("\n") == 1
        and "Traceback" not in err
        and all(part in err for part in parts)
    )
