import json
from dataclasses import replace
from typing import Any

import pytest

from mesascope import analyses
from mesascope.analyses import attach, measure_similarity

from .conftest import GARG, is_one_line_error

FEW = ("--prompts", "800", "--readout-prompts", "100")


@pytest.fixture(scope="module")
def measured(tiny_run: Any) -> Any:
    """What is found of a model, once for all tests."""
    return measure_similarity(attach(tiny_run), n_prompts=800, n_fit=100, rivals=["GD", "Newton"])


@pytest.fixture
def asked(measured: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the command asks for, which is not measured again."""
    found: dict[str, Any] = {}

    def stored(scope: Any, **options: Any) -> Any:
        found.update(options)
        return measured

    monkeypatch.setattr(analyses, "measure_similarity", stored)
    return found


def test_similarity_prints_a_table_and_the_steps_that_match(run, tiny_run, measured, asked):
    code, out, err = run("similarity", tiny_run)
    assert code == 0 and err == ""
    assert f"Similarity of errors in {tiny_run}" in " ".join(out.split())
    assert all(word in out for word in ("layer 1", "output", "95% interval", "floor", "GD", "Newton"))
    for match in measured.errors.output.matches:
        assert f"{match.similarity.value:.4f}" in out and match.verdict in out
    assert asked == {"n_prompts": 1_000, "n_fit": 20_000, "empty_prefix": False, "rivals": None}


def test_every_option_reaches_the_measurement(run, tiny_run, asked):
    code, _, _ = run("similarity", tiny_run, *FEW, "--rival", "GD", "--rival", "Newton", "--empty-prefix")
    assert code == 0
    assert asked == {"n_prompts": 800, "n_fit": 100, "empty_prefix": True, "rivals": ["GD", "Newton"]}


def test_induced_weights_are_compared_when_asked_for(run, tiny_run, measured, asked):
    code, out, _ = run("similarity", tiny_run, "--by", "weights")
    assert code == 0 and "Similarity of weights" in out
    assert f"{measured.weights.output.best.similarity.value:.4f}" in out


def test_laws_of_growth_are_said_where_there_are_layers_enough(run, tiny_run, measured, monkeypatch):
    course = measured.errors.courses[0]

    class Grown(type(course)):  # type: ignore[misc]
        """A course over more layers than the model has."""

        fits = {"linear": (1.0, 0.0, 0.987)}

    grown = Grown(**vars(course))
    found = replace(measured, errors=replace(measured.errors, courses=(grown,)))
    monkeypatch.setattr(analyses, "measure_similarity", lambda *_, **__: found)
    _, out, _ = run("similarity", tiny_run)
    assert f"Best-matching steps of {course.name}: linear in the layer with R² 0.987." in " ".join(out.split())


def test_similarity_prints_json_and_writes_figures(run, tiny_run, measured, asked, tmp_path):
    code, out, _ = run("similarity", tiny_run, "--json", "--figures", tmp_path)
    assert code == 0 and json.loads(out) == json.loads(json.dumps(measured.to_json()))
    written = {path.stem for path in tmp_path.iterdir()}
    assert written == {figure.id for figure in measured.figures()}
    code, out, _ = run("similarity", tiny_run, "--figures", tmp_path)
    assert all(str(tmp_path / f"{name}.html") in out for name in written)


@pytest.mark.parametrize(
    "arguments, parts",
    [
        (("--by", "weights", "--rival", "nearest neighbours"), ("no weights to compare", "use --by errors")),
        (("--rival", "Newtn"), ("did you mean 'Newton'",)),
        (("--rival", "GD", "--prompts", "40"), ("n_prompts=40: expected at least",)),
    ],
    ids=["no weights", "unknown rival", "too few prompts"],
)
def test_what_cannot_be_compared_is_refused_in_a_line(run, tiny_run, arguments, parts):
    code, out, err = run("similarity", tiny_run, *arguments)
    assert code == 1 and out == "" and is_one_line_error(err, *parts)


def test_a_task_that_is_not_linear_has_no_weights_and_warns(run, measured, monkeypatch):
    code, out, err = run("similarity", "zoo:sine", "--by", "weights")
    assert code == 1 and out == "" and is_one_line_error(err, "y must be linear in x")
    bent = replace(measured, linear_task=False, weights=None)
    monkeypatch.setattr(analyses, "measure_similarity", lambda *_, **__: bent)
    code, _, err = run("similarity", "zoo:sine")
    assert code == 0 and err.startswith("warning: ") and "linear" in err


@pytest.mark.parametrize(
    "arguments", [("--by", "height"), ("--prompts", "39"), ("--readout-prompts", "39")], ids=" ".join
)
def test_a_wrong_usage_exits_with_2(run, arguments):
    code, out, err = run("similarity", GARG, *arguments)
    assert code == 2 and out == "" and "Usage" in err
