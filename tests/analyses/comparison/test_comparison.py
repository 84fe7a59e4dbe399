import json
import math
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from mesascope.analyses import attach
from mesascope.analyses.comparison import compare, write_comparison
from mesascope.analyses.comparison.comparison import label_of, unique
from mesascope.analyses.comparison.difference import DIFFERS, NONE, OPEN, SAME
from mesascope.analyses.registry import ANALYSES, Analysis
from mesascope.analyses.scope import Predictor
from mesascope.models import (
    GradientDescent,
    HookedRegressor,
    LeastSquares,
    LinearRegression,
    MesascopeError,
    RegressorConfig,
)
from mesascope.models.training.presets import read_preset

from ..conftest import GARG, decoder, few_prompts
from ..report.conftest import Page
from ..report.planted import Planted

CHEAP = ("performance", "readouts")


@pytest.fixture(scope="module")
def learned_against_untrained(tiny_run):
    with few_prompts(200):
        return compare([tiny_run, f"{tiny_run}@untrained-3"], CHEAP, 200, n_paired=400)


@pytest.fixture(scope="module")
def against_its_copy(tiny_run, tmp_path_factory):
    copy = tmp_path_factory.mktemp("copies") / "copy"
    shutil.copytree(tiny_run, copy)
    with few_prompts(200):
        return compare([tiny_run, copy, tiny_run], CHEAP[:1], n_paired=100)


def test_copies_differ_in_nothing(against_its_copy, tiny_run):
    assert against_its_copy.identical == (True, True, True)
    assert {claim.verdict for claim in against_its_copy.claims} == {SAME}
    assert {(claim.value, claim.ci) for claim in against_its_copy.claims} == {(0.0, (0.0, 0.0))}
    assert against_its_copy.checkpoints[2] == f"{tiny_run} (2)"


def test_a_trained_model_differs_from_an_untrained_one(learned_against_untrained):
    result = learned_against_untrained
    found = {difference.id: difference for difference in result.differences}
    assert found["loss"].verdict == DIFFERS and found["loss"].value > 0  # the untrained one loses more
    assert found["readouts.y.blocks.0.hook_resid_post"].verdict == DIFFERS
    assert result.headlines[0].verdict == DIFFERS and result.headlines[0].value > 0.1
    assert result.claims[1].verdict == DIFFERS  # those that differ come first
    layer = result.verdicts["readouts.y.blocks.0.hook_resid_post"]
    assert layer[0] == "decodable" and layer[1] != "decodable"


def test_what_both_are_given_is_the_same(learned_against_untrained):
    """The residual stream before the first layer holds the tokens, whatever was learned."""
    found = {difference.id: difference for difference in learned_against_untrained.differences}
    assert found["readouts.y.blocks.0.hook_resid_pre"].verdict == SAME


def test_every_difference_is_judged_with_all_others(learned_against_untrained):
    judged = [d for d in learned_against_untrained.differences if d.q is not None]
    assert len(judged) >= 3 and all(d.q >= d.p for d in judged)


@pytest.mark.slow
def test_untrained_models_of_other_seeds_are_given_no_difference_in_what_they_know():
    with few_prompts(200):
        result = compare([attach(decoder(seed, 1)) for seed in (0, 1)], ("readouts",), 200, n_paired=40)
    readouts = [d for d in result.differences if d.id.startswith("readouts.")]
    assert len(readouts) == 3 and DIFFERS not in {d.verdict for d in readouts}


@pytest.fixture(scope="module")
def shallow_and_deep():
    with few_prompts(200):
        return compare([attach(decoder(n_layers=n)) for n in (1, 2)], ("readouts",), 80, n_paired=40)


def test_models_of_other_depth_share_what_both_have(shallow_and_deep):
    ids = [d.id for d in shallow_and_deep.differences]
    assert "readouts.y.blocks.0.hook_resid_post" in ids and "readouts.y.blocks.1.hook_resid_post" not in ids
    assert shallow_and_deep.verdicts["readouts.y.blocks.1.hook_resid_post"][0] is None


def test_what_does_not_apply_to_one_is_not_subtracted(tiny_run):
    """Matching needs x and y in tokens."""
    scopes = [attach(tiny_run), attach(f"{tiny_run}@untrained")]
    result = compare(scopes, ("learned-features", "matching"), 80, n_paired=40)
    assert {d.id.partition(".")[0] for d in result.differences} == {"loss", "matching"}
    model = next(d for d in result.differences if d.id == "matching.model")
    assert model.q is None and model.data()["ci"] is None and "without intervals" in model.text


def test_figures_show_each_number_of_each_analysis(learned_against_untrained, against_its_copy):
    for result, analyses in ((learned_against_untrained, CHEAP), (against_its_copy, CHEAP[:1])):
        figures = {figure.id: figure for figure in result.figures()}
        pairs = [f"comparison-{name}-{kind}" for name in ("loss", *analyses) for kind in ("differences", "values")]
        assert list(figures) == ["comparison-predictions", *pairs]
        n_others = len(result.checkpoints) - 1
        for name in analyses:
            n_numbers = sum(d.id.startswith(name) for d in result.differences)
            drawn = sum(len(trace.x) for trace in figures[f"comparison-{name}-differences"].plot.data)
            assert drawn == n_numbers
            values = sum(len(trace.x) for trace in figures[f"comparison-{name}-values"].plot.data)
            assert values == n_numbers + n_numbers // n_others


def test_json_holds_every_number(learned_against_untrained):
    content = learned_against_untrained.to_json()
    assert len(content["data"]["differences"]) == len(content["claims"]) - 1
    assert content["data"]["losses"][0]["value"] < content["data"]["losses"][1]["value"]
    assert content["warnings"][0].startswith("Intervals are over prompts")


def test_a_report_shows_both_and_the_same_numbers(learned_against_untrained, tiny_run, tmp_path):
    report = write_comparison(learned_against_untrained, tmp_path, "mesascope compare a b")
    content = json.loads(report.json.read_text())
    assert content["analyses"]["comparison"] == json.loads(json.dumps(learned_against_untrained.to_json()))
    assert content["checkpoint"] == f"{tiny_run} and {tiny_run}@untrained-3"
    page = Page(report.html.read_text())
    (sentence,) = content["verdict"]
    assert sentence["lead"] == "Differs" and "numbers differ" in sentence["text"] and sentence["text"] in page.text
    assert json.loads(page.script("report")) == content
    # All of them are described under what was looked at, and none in the heading.
    assert page.text.count("1 layer, 1 head") == 2
    heading, _, looked_at = page.text.partition("What was found")
    assert "A specimen for tests." not in heading and "A specimen for tests." in looked_at


def test_every_claim_of_a_report_leads_to_the_figure_that_shows_it(learned_against_untrained, tmp_path):
    page = Page(write_comparison(learned_against_untrained, tmp_path).html.read_text())
    places = [str(attrs["href"]) for tag, attrs in page.elements if tag == "a"]
    own = places[places.index("#comparison", places.index("#about")) :]
    shown = [place for place in own if place.startswith("#comparison-")][len(learned_against_untrained.figures()) :]
    headline, _, *numbers = shown  # the headline stands under what was found and in its section
    assert headline == "#comparison-predictions"
    claims = learned_against_untrained.claims[1:]
    expected = {"loss": "loss", "performance": "performance", "readouts": "readouts"}
    prefix = f"comparison.{learned_against_untrained.checkpoints[1]}."
    analyses = [claim.id.removeprefix(prefix).partition(".")[0] for claim in claims]
    assert set(analyses) == set(expected)
    assert numbers == [f"#comparison-{name}-differences" for name in analyses]


def test_two_models_that_learned_the_same_are_found_no_different(predicts_y):
    other = HookedRegressor(predicts_y.cfg)
    other.load_state_dict(predicts_y.state_dict())
    other.attentions[0].W_V.data.mul_(2)  # another gauge: the same function in other weights
    other.attentions[0].W_O.data.div_(2)
    task = LinearRegression(n_dims=3, n_points=9)
    with few_prompts(200):
        scopes = [attach(model, task=task) for model in (predicts_y, other)]
        result = compare(scopes, ("performance",), 80, n_paired=40)
    assert result.identical == (True, False)
    assert result.headlines[0].verdict == NONE and result.headlines[0].value == pytest.approx(0.0, abs=1e-10)


@pytest.mark.parametrize(
    "id_, label",
    [
        ("readouts.w_ols.blocks.3.hook_resid_post", "readouts: w ols in layer 4"),
        ("readouts.y.ln_final.hook_normalized", "readouts: y in final norm"),
        ("identification.model", "identification: model"),
        ("loss", "loss: "),
    ],
)
def test_ids_are_put_into_words(id_, label):
    assert label_of(id_) == label


def test_names_that_come_again_are_numbered():
    assert unique(["a", "b", "a", "a"]) == ["a", "b", "a (2)", "a (3)"]
    assert unique(["a", "a", "a (2)"]) == ["a", "a (3)", "a (2)"]


def test_what_does_not_apply_to_a_checkpoint_is_named(tiny_run, tmp_path):
    """An LSTM holds no construction; neither model has layers before its attention."""
    preset = read_preset("fu2024/lstm")
    task = preset.task.model_copy(update={"n_dims": 2, "n_points": 7})
    lstm = HookedRegressor(preset.model.model_copy(update={"n_dims": 2, "n_points": 7, "n_layers": 1, "d_model": 8}))
    scopes = [attach(tiny_run, task=task), attach(lstm, task=task)]
    result = compare(scopes, ("matching", "learned-features"), 80, n_paired=40)
    assert result.left_out == {
        f"learned-features of {tiny_run}": ANALYSES["learned-features"].needs,
        "matching of a hooked model": ANALYSES["matching"].needs,
        "learned-features of a hooked model": ANALYSES["learned-features"].needs,
    }
    assert result.not_shared == {} and result.failed == {}  # what does not apply is said once
    report = write_comparison(result, tmp_path)
    content = json.loads(report.json.read_text())
    assert content["left_out"] == content["analyses"]["comparison"]["data"]["left_out"] == result.left_out
    assert "matching of a hooked model" in Page(report.html.read_text()).text


def test_an_analysis_that_cannot_run_on_one_costs_that_alone(tiny_run, tmp_path, monkeypatch):
    working = ANALYSES["matching"]

    def refuses(scope, n_prompts):
        if "untrained" in scope.source:
            raise MesascopeError("this one <cannot> run")
        return working.run(scope, n_prompts)

    monkeypatch.setitem(ANALYSES, "matching", Analysis(refuses))
    with few_prompts(80):
        result = compare([tiny_run, f"{tiny_run}@untrained"], ("performance", "matching"), 80, n_paired=40)
    assert result.failed == {f"matching of {tiny_run}@untrained": "this one <cannot> run"}
    assert {d.id.partition(".")[0] for d in result.differences} == {"loss", "performance"}
    report = write_comparison(result, tmp_path)
    assert report.failed == json.loads(report.json.read_text())["failed"] == result.failed
    assert "This report is not whole" in report.html.read_text()


@pytest.mark.parametrize("bad", [0, 1])
def test_a_model_that_diverged_costs_its_predictions_alone(tiny_run, tmp_path, monkeypatch, bad):
    scopes = [attach(tiny_run), attach(f"{tiny_run}@untrained")]
    with torch.no_grad():
        scopes[bad].hooked.attentions[0].W_V.fill_(math.nan)
    monkeypatch.setitem(ANALYSES, "matching", Analysis(lambda scope, n_prompts: Planted()))
    result = compare(scopes, ("performance", "matching"), 80, n_paired=40)
    name = result.checkpoints[bad]
    assert [*result.failed] == [f"predictions of {name}", f"performance of {name}"]
    assert all("predicts NaN or infinity" in error for error in result.failed.values())
    assert {d.id.partition(".")[0] for d in result.differences} == {"planted"}
    (headline,) = result.headlines
    assert headline.verdict == OPEN and headline.value is None and "could not be compared" in headline.text
    report = write_comparison(result, tmp_path)
    assert json.loads(report.json.read_text())["failed"] == result.failed
    assert result.data()["losses"][bad] is None and result.data()["losses"][1 - bad] is not None


def test_too_few_paired_prompts_are_refused_before_anything_is_measured(tiny_run, monkeypatch):
    monkeypatch.setitem(ANALYSES, "matching", Analysis(lambda scope, n_prompts: pytest.fail("it was measured")))
    with pytest.raises(MesascopeError, match="n_prompts=19: a comparison needs at least 20"):
        compare([tiny_run, tiny_run], ("matching",), n_paired=19)


def test_a_mistake_of_ours_is_raised_when_all_else_is_written(tiny_run, tmp_path, monkeypatch):
    def breaks(scope, n_prompts):
        return Planted() if "untrained" not in scope.source else 1 / 0

    monkeypatch.setitem(ANALYSES, "matching", Analysis(breaks))
    twin, third = f"{tiny_run}@untrained", f"{tiny_run}@step-4"
    result = compare([tiny_run, twin, third], ("matching",), n_paired=40)
    assert isinstance(result.mistake, ZeroDivisionError)
    assert {d.checkpoint for d in result.differences if d.id != "loss"} == {third}
    with pytest.raises(ZeroDivisionError):
        write_comparison(result, tmp_path)
    failed = json.loads((tmp_path / "report.json").read_text())["failed"]
    assert failed == {f"matching of {twin}": "a mistake of ours, ZeroDivisionError: division by zero"}
    assert f"matching of {twin}" in (tmp_path / "report.html").read_text()


@dataclass(frozen=True)
class Doubtful(Planted):
    """A result that warns of itself."""

    @property
    def warnings(self):
        return ("It looks <odd>.",)


def test_what_analyses_warn_of_is_said_once_for_each_checkpoint(tiny_run, tmp_path, monkeypatch):
    def warns(scope, n_prompts):
        return Doubtful() if "untrained" in scope.source else Planted()

    twin = f"{tiny_run}@untrained"
    for name in ("matching", "readouts"):
        monkeypatch.setitem(ANALYSES, name, Analysis(warns))
    result = compare([tiny_run, twin], ("matching", "readouts"), n_paired=40)
    assert result.warnings[1:] == (f"{twin}: It looks <odd>.",)
    report = write_comparison(result, tmp_path)
    assert json.loads(report.json.read_text())["warnings"] == [*result.warnings]
    assert f"{twin}: It looks <odd>." in Page(report.html.read_text()).text


def test_a_scale_that_does_not_look_like_the_one_trained_on_is_said():
    with few_prompts(200):
        result = compare([attach(GARG, w_std=1.0)] * 2, ("performance",), n_paired=40)
    for name, warning in zip(result.checkpoints, result.warnings[1:], strict=True):
        assert warning.startswith(f"{name}: The stated scale of w, w_std=1, does not look like the one trained on")


def test_numbers_without_a_counterpart_are_named(shallow_and_deep, tmp_path):
    said = {"readouts of a hooked model (2)": "y in layer 2 (a hooked model has no such number)"}
    assert shallow_and_deep.not_shared == said
    report = write_comparison(shallow_and_deep, tmp_path)
    assert json.loads(report.json.read_text())["not_shared"] == said
    assert "not subtracted: y in layer 2" in report.html.read_text()


def test_learners_are_compared_and_one_with_itself_is_no_different():
    task = LinearRegression(n_dims=3, n_points=9)
    learner = LeastSquares()
    with few_prompts(200):
        result = compare(
            [learner, learner, GradientDescent(1, eta=0.1)], ("performance", "readouts"), task=task, n_paired=40
        )
    assert result.identical == (True, True, False)
    same, other = result.headlines
    assert same.verdict == SAME and "are one predictor" in same.text and other.verdict == DIFFERS
    assert [*result.left_out] == [f"readouts of {name}" for name in result.checkpoints]
    # Their names look like tags, and are shown as they are.
    names = [trace.name for trace in result.figures()[2].plot.data]
    assert names[0] == "&lt;LeastSquares least squares&gt;"


class Bold:
    """A predictor whose name is markup."""

    def __repr__(self):
        return "<b>bold</b>"

    def predict(self, prompts):
        return torch.zeros_like(prompts.ys)


@pytest.mark.parametrize("bold_first", [True, False])
def test_a_name_that_is_markup_changes_no_page(tmp_path, bold_first):
    pair: list[Predictor] = [Bold(), LeastSquares()]
    result = compare(
        pair if bold_first else pair[::-1], ("readouts",), task=LinearRegression(n_dims=3, n_points=9), n_paired=40
    )
    page = Page(write_comparison(result, tmp_path).html.read_text())
    assert "<b>bold</b>" in page.text and "b" not in {tag for tag, _ in page.elements}


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_number_that_is_not_finite_is_named_and_not_subtracted(tiny_run, monkeypatch, value):
    working = ANALYSES["matching"]

    class Unknown:
        """A result with a number that nobody knows."""

        def __init__(self, result, value):
            self.warnings = ()
            self.claims = (replace(result.claims[0], value=value, ci=(value, value)), *result.claims[1:])

    def measure(scope, n_prompts):
        return Unknown(working.run(scope, n_prompts), value if "untrained" in scope.source else 0.5)

    monkeypatch.setitem(ANALYSES, "matching", Analysis(measure))
    result = compare([tiny_run, f"{tiny_run}@untrained"], ("matching",), n_paired=40)
    assert "matching.model" not in [d.id for d in result.differences]
    assert result.not_shared[f"matching of {tiny_run}@untrained"].startswith(f"model (not finite in {tiny_run}@unt")
    same = compare([tiny_run, tiny_run], ("matching",), n_paired=40)
    assert {claim.verdict for claim in same.claims} == {SAME}


def test_one_checkpoint_is_refused(tiny_run):
    with pytest.raises(MesascopeError, match="got 1 checkpoint; give at least two"):
        compare([tiny_run])


@pytest.mark.usefixtures("unchecked_shapes")
def test_one_checkpoint_that_is_no_list_is_refused_as_such():
    for one, got in (("zoo:lsa-1", "'zoo:lsa-1'"), (Path("runs/a"), "'runs/a'"), (LeastSquares(), "one LeastSquares")):
        with pytest.raises(MesascopeError, match=f"got {got}; give a list of at least two to compare"):
            compare(one)  # type: ignore[arg-type]


def test_one_analysis_needs_no_list(tiny_run):
    alone, listed = (compare([tiny_run, tiny_run], names, n_paired=40) for names in ("matching", ["matching"]))
    assert alone.verdicts == listed.verdicts != {}


def test_checkpoints_of_other_tasks_are_refused_unless_they_are_given_one(tiny_run):
    longer = LinearRegression(n_dims=2, n_points=9)
    model = HookedRegressor(RegressorConfig.linear_self_attention(2, 9, 1))
    with pytest.raises(MesascopeError, match=r"their tasks differ, n_points is 9 and 7; .*--on CKPT"):
        compare([tiny_run, attach(model, task=longer)])
    result = compare([tiny_run, model], ("matching",), task=attach(tiny_run).task, n_paired=40)
    assert result.points == (6,)


def test_scopes_of_other_seeds_are_refused(tiny_run):
    with pytest.raises(MesascopeError, match="seeds 1 and 0 give other prompts"):
        compare([attach(tiny_run), attach(tiny_run, seed=1)])


def test_an_unknown_analysis_is_refused_before_anything_is_loaded():
    with pytest.raises(MesascopeError, match="no analysis is called 'readout'; did you mean 'readouts'"):
        compare(["nowhere", "nothing"], ("readout",))
