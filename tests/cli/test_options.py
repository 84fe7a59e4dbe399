"""What is asked for on the command line reaches what measures: for every command that is registered."""

import inspect
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from pydantic import BaseModel

from mesascope import analyses, models
from mesascope.analyses import registry
from mesascope.analyses.identification import selftest
from mesascope.analyses.registry import Analysis
from mesascope.models.training import processes

from .calls import COMMANDS, call, options, with_option
from .conftest import is_one_line_error

VALUES: dict[str, Any] = {
    "--seed": 12_345,
    "--device": "cuda:7",
    "--w-std": 0.123,
    "--prompts": 4_321,
    "--readout-prompts": 4_322,
}
"""Options that several commands share, each with a value that nothing else has."""


class Reached(Exception):
    """What measures was called."""


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What a command hands over, value by value, up to where measuring would begin."""
    handed: list[Any] = []

    def spy(function: Callable[..., Any], stop: bool = True) -> Callable[..., Any]:
        def spied(*arguments: Any, **named: Any) -> object:
            bound = inspect.signature(function).bind(*arguments, **named)
            handed.extend(_flat(bound.arguments.values()))
            if stop:
                raise Reached
            return object()

        return spied

    measuring = {name: getattr(analyses, name) for name in analyses.__all__} | {"run_selftest": selftest.run_selftest}
    measuring = {name: what for name, what in measuring.items() if callable(what) and not inspect.isclass(what)}
    for module in [module for name, module in sys.modules.items() if name.startswith("mesascope.analyses")]:
        for name, function in measuring.items():
            if callable(getattr(module, name, None)):
                monkeypatch.setattr(module, name, spy(function, stop=name != "attach"))
    monkeypatch.setattr(models, "train", spy(models.train))
    monkeypatch.setitem(registry.ANALYSES, "performance", Analysis(spy(lambda scope, n_prompts: None)))
    monkeypatch.setattr(processes, "usable_device", torch.device)  # cuda:7 is nowhere to be found
    return handed


def _flat(values: Any) -> Iterator[Any]:
    for value in values:
        yield value
        if isinstance(value, BaseModel):
            yield from (getattr(value, name) for name in type(value).model_fields)


@pytest.mark.parametrize("flag, name", [(flag, name) for flag in VALUES for name in with_option(flag)])
def test_a_shared_option_reaches_what_measures(run, given, tmp_path, flag, name):
    line = call(name, "zoo:separate-tokens", tmp_path, few=False)
    with pytest.raises(Reached):
        run(*line)
    assert given and VALUES[flag] not in given
    given.clear()
    with pytest.raises(Reached):
        run(*line, flag, VALUES[flag])
    assert VALUES[flag] in given


@pytest.mark.parametrize("name", COMMANDS)
def test_what_looks_at_a_model_can_be_told_where_and_with_which_seed(name):
    """`presets` and `zoo` list what is bundled, `selftest` plants its own."""
    lacking = {flag for flag in ("--seed", "--device", "--w-std") if flag not in options(name)}
    assert lacking <= {
        "zoo": {"--seed", "--device", "--w-std"},
        "presets": {"--seed", "--device", "--w-std"},
        "selftest": {"--device", "--w-std"},
        "train": {"--w-std"},  # the preset says
    }.get(name, set())


@pytest.mark.parametrize("name", with_option("--figures"))
def test_a_folder_for_figures_is_tried_before_anything_is_measured(run, given, tmp_path, name):
    (tmp_path / "file").write_text("")
    line = call(name, "zoo:separate-tokens", tmp_path / "out", few=False)
    code, out, err = run(*line, "--figures", tmp_path / "file" / "x")
    assert code == 1 and out == "" and given == []
    assert is_one_line_error(err, "cannot write to", "choose another folder")


@pytest.mark.parametrize("name", with_option("--json"))
def test_json_is_offered_wherever_something_is_measured(name):
    assert options(name)["--json"].is_flag
