import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from mesascope import __version__
from mesascope.analyses import Report, attach, write_report
from mesascope.analyses.claim import Result
from mesascope.analyses.registry import ANALYSES, Analysis
from mesascope.analyses.report import write
from mesascope.analyses.report.page import embed, interval, number
from mesascope.models import LeastSquares, LinearRegression, MesascopeError, train

from ..conftest import tiny
from .conftest import STEP_TASK, few_prompts

FIRST = {"performance": ANALYSES["performance"]}
HOSTILE = "</script><script>alert(1)</script>"


class Page(HTMLParser):
    """Elements with their attributes, and the text of each script."""

    def __init__(self, html: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self.inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside == "script":
            self.scripts[-1] += data
        else:
            self.text += data

    def script(self, id: str) -> str:
        ids = [attrs.get("id") for tag, attrs in self.elements if tag == "script"]
        return self.scripts[ids.index(id)]


@pytest.fixture(scope="module")
def written(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Report:
    out = tmp_path_factory.mktemp("report") / "new" / "folder"
    with few_prompts(800):  # as many as a model that reads one point needs
        return write_report(attach(tiny_run), out, n_prompts=400, command="mesascope report <&> --out 'a b'")


@pytest.fixture(scope="module")
def page(written: Report) -> Page:
    return Page(written.html.read_text("utf-8"))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """A report on a checkpoint whose name and description are markup."""
    folder = tmp_path_factory.mktemp("hostile")
    train(tiny(about=HOSTILE + "\u2028&amp;"), folder / HOSTILE)
    with few_prompts(800):
        return Page(write_report(attach(folder / HOSTILE), folder / "out", n_prompts=100).html.read_text("utf-8"))


def refused(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


def test_json_has_the_published_schema(written, tiny_run):
    content = json.loads(written.json.read_text("utf-8"), parse_constant=refused)
    assert {"schema", "checkpoint", "task", "seed", "version", "command", "analyses"} <= content.keys()
    assert content["schema"] == 1
    assert content["checkpoint"] == str(tiny_run)
    assert content["version"] == __version__
    assert content["command"] == "mesascope report <&> --out 'a b'"
    assert LinearRegression.model_validate(content["task"]) == LinearRegression(n_dims=2, n_points=7)
    names = ["performance", "readouts", "identification", "spectral", "similarity", "matching"]
    # One layer of linear self-attention that has learned its step, so that there is a construction to run.
    assert list(content["analyses"]) == [*names, "curvature", "side-checks"]
    for analysis in content["analyses"].values():
        assert {"claims", "data"} <= analysis.keys()
        assert analysis["claims"] and analysis["data"]
        for claim in analysis["claims"]:
            assert set(claim) == {"id", "text", "value", "ci", "null", "verdict"}
            assert claim["text"].endswith(".") and claim["verdict"]
            low, high = claim["ci"] or (claim["value"], claim["value"])
            assert claim["value"] is None or low <= claim["value"] <= high


def test_every_analysis_that_may_not_apply_says_what_it_needs():
    assert [name for name, analysis in ANALYSES.items() if not analysis.needs] == ["performance"]  # applies to all


def test_claim_ids_are_unique(written):
    content = json.loads(written.json.read_text("utf-8"))
    ids = [claim["id"] for analysis in content["analyses"].values() for claim in analysis["claims"]]
    assert len(ids) == len(set(ids))


def test_page_holds_the_same_content_as_the_json(written, page):
    assert json.loads(page.script("report")) == json.loads(written.json.read_text("utf-8"))


def test_page_asks_nothing_from_outside(page):
    asking = {"link", "img", "iframe", "object", "embed", "base", "video", "audio", "source", "form"}
    assert not asking & {tag for tag, _ in page.elements}
    assert not [attrs for _, attrs in page.elements if {"src", "href", "srcset"} & attrs.keys()]
    assert not re.search(r"@import|url\(", page.text)
    own = page.scripts[-1]  # plotly's own script names addresses that only its maps would ask for
    assert "http" not in own and "fetch" not in own and "import" not in own


def test_page_holds_plotly_once_and_is_small(written):
    html = written.html.read_text("utf-8")
    assert len(re.findall(r"plotly\.js v\d", html)) == 1
    assert len(html.encode()) < 8_000_000


def test_every_figure_has_its_place_and_a_valid_specification(written, page):
    places = [attrs for tag, attrs in page.elements if attrs.get("class") == "plot"]
    figures = [figure for result in written.results.values() for figure in result.figures()]
    assert [place["id"] for place in places] == [f"plot-{figure.id}" for figure in figures]
    for place, figure in zip(places, figures, strict=True):
        assert place["data-spec"] is not None
        specification = json.loads(page.script(place["data-spec"]), parse_constant=refused)
        assert len(specification["data"]) == len(figure.plot.data)


def test_claims_come_before_figures(written, page):
    html = written.html.read_text("utf-8")
    for result in written.results.values():
        for claim in result.claims:
            assert claim.verdict in page.text
        headline = result.headlines[0].text.split(",")[0]
        assert headline in page.text
    assert html.index('id="claims"') < html.index('class="plot"')


def test_hostile_names_are_text(hostile, page):
    assert hostile.text.count("alert(1)") >= 3  # title, heading, description
    assert not any(script.strip() == "alert(1)" for script in hostile.scripts)
    assert len(hostile.scripts) == len(page.scripts)
    embedded = json.loads(hostile.script("report"))
    assert embedded["checkpoint"].endswith(HOSTILE)
    assert embedded["model"]["about"] == HOSTILE + "\u2028&amp;"


def test_embedded_json_cannot_leave_its_script():
    text = str(embed({"a": "</script><!--\u2028\u2029"}))
    assert "<" not in text and "\u2028" not in text and "\u2029" not in text
    assert json.loads(text) == {"a": "</script><!--\u2028\u2029"}
    assert str(embed('{"a": "<"}')) == '{"a": "\\u003c"}'  # text that is JSON already


def test_numbers_that_are_not_finite_cannot_be_embedded():
    with pytest.raises(ValueError, match="not JSON compliant"):
        embed(float("nan"))


@pytest.mark.parametrize("value, text", [(None, "–"), (0.123456, "0.1235"), (-2.0, "−2"), (0.0, "0")])
def test_numbers_read_well(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    "ci, text",
    [
        (None, "–"),
        ([None, 1.0], "–"),
        ([-0.5, 0.25], "[−0.5, 0.25]"),
        ([0.99961, 0.99968], "[0.9996, 0.9997]"),  # three digits would hide the width
        ([1.0, 1.0], "[1, 1]"),
    ],
)
def test_intervals_read_well(ci, text):
    assert interval(ci) == text


def test_a_learner_has_a_report_without_readouts(tmp_path):
    with few_prompts(100):
        report = write_report(attach(LeastSquares()), tmp_path, n_prompts=100)
    content = json.loads(report.json.read_text("utf-8"))
    assert (
        list(content["analyses"]) == list(report.results) == ["performance", "identification", "spectral", "similarity"]
    )
    assert content["checkpoint"] == "<LeastSquares least squares>"
    assert content["model"] == {"kind": "PredictorModel"}
    assert "<h1>&lt;LeastSquares least squares&gt;</h1>" in report.html.read_text("utf-8")


def test_a_model_without_a_folder_has_a_report(predicts_y, tmp_path, monkeypatch):
    monkeypatch.setattr(write, "ANALYSES", FIRST)
    report = write_report(attach(predicts_y, task=STEP_TASK), tmp_path)
    content = json.loads(report.json.read_text("utf-8"))
    assert content["checkpoint"] == "a hooked model"
    assert content["model"]["config"] == predicts_y.cfg.model_dump(mode="json")
    assert content["model"]["n_parameters"] == 4 * 4 * 4


def test_an_earlier_report_survives_an_analysis_that_fails(tmp_path, monkeypatch):
    def fails(scope: object, n_prompts: int) -> Result:
        raise MesascopeError("this one cannot run")

    for name in ("report.html", "report.json"):
        (tmp_path / name).write_text("earlier")
    monkeypatch.setattr(write, "ANALYSES", FIRST | {"failing": Analysis(fails)})
    with pytest.raises(MesascopeError, match="this one cannot run"):
        write_report(attach(LeastSquares()), tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "report.html": "earlier",
        "report.json": "earlier",
    }


def test_a_new_analysis_is_picked_up_from_the_registry_in_order(tmp_path, monkeypatch):
    started: list[str] = []
    deaf = Analysis(FIRST["performance"].run, lambda scope: False, "a model with <ears>")
    monkeypatch.setattr(write, "ANALYSES", FIRST | {"deaf": deaf})
    report = write_report(attach(LeastSquares()), tmp_path, on_analysis=started.append)
    assert started == ["performance", "deaf", "writing"]
    assert list(report.results) == ["performance"]
    # Named, not silently absent.
    assert json.loads(report.json.read_text("utf-8"))["left_out"] == {"deaf": "a model with <ears>"}
    assert "deaf (needs a model with &lt;ears&gt;)" in report.html.read_text("utf-8")


def test_a_folder_that_cannot_be_made_is_refused_before_anything_runs(tmp_path):
    (tmp_path / "file").write_text("")
    started: list[str] = []
    with pytest.raises(MesascopeError, match=r"cannot write to .*/file/out: Not a directory; choose another folder"):
        write_report(attach(LeastSquares()), tmp_path / "file" / "out", on_analysis=started.append)
    assert started == []


def test_writing_leaves_the_two_files_and_nothing_else(written):
    assert {path.name for path in written.html.parent.iterdir()} == {"report.html", "report.json"}
