import ast
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from mesascope import __version__, analyses
from mesascope.analyses import attach, write_report
from mesascope.analyses.claim import finite
from mesascope.analyses.registry import ANALYSES
from mesascope.analyses.report import write
from mesascope.analyses.report.page import anchor, anchors, embed, interval, number, simple_html
from mesascope.analyses.report.tables import packed, table_of

from ..conftest import GARG, few_prompts
from .conftest import QUICK, Page, refused
from .planted import N_CLAIMS, planted_html

HOSTILE = "</script><script>alert(1)</script>"


def planted(**changes: Any) -> Page:
    return Page(planted_html(**changes))


def links(page: Page) -> list[str]:
    return [str(attrs["href"]) for tag, attrs in page.elements if tag == "a"]


@pytest.fixture(scope="module")
def hostile(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Page:
    """A report on a checkpoint whose name and description are markup."""
    folder = tmp_path_factory.mktemp("hostile")
    shutil.copytree(tiny_run, folder / HOSTILE)
    config = json.loads((tiny_run / "config.json").read_text("utf-8"))
    (folder / HOSTILE / "config.json").write_text(json.dumps(config | {"about": HOSTILE + "\u2028&amp;"}), "utf-8")
    with few_prompts(100), pytest.MonkeyPatch.context() as patch:
        patch.setattr(write, "ANALYSES", {"performance": QUICK["performance"]})
        return Page(write_report(attach(folder / HOSTILE), folder / "out", n_prompts=100).html.read_text("utf-8"))


def test_page_holds_the_same_content_as_the_json(written, page):
    assert json.loads(page.script("report")) == json.loads(written.json.read_text("utf-8"))


def test_page_asks_nothing_from_outside(page):
    asking = {"link", "img", "iframe", "object", "embed", "base", "video", "audio", "source", "form"}
    assert not asking & {tag for tag, _ in page.elements}
    assert not [attrs for _, attrs in page.elements if {"src", "srcset"} & attrs.keys()]
    assert links(page) and all(link.startswith("#") for link in links(page))
    assert not re.search(r"@import|url\(", page.text)
    own = page.scripts[-1]  # plotly's own script names addresses that only its maps would ask for
    assert "http" not in own and "fetch" not in own and "import" not in own
    (policy,) = [attrs["content"] for tag, attrs in page.elements if attrs.get("http-equiv")]
    assert policy is not None and policy.startswith("default-src 'none';") and "http" not in policy


def test_page_holds_plotly_once_and_is_small(written):
    html = written.html.read_text("utf-8")
    assert len(re.findall(r"plotly\.js v\d", html)) == 1
    assert len(html.encode()) < 8_000_000


def test_every_figure_has_its_place_and_a_valid_specification(written, page):
    places = [attrs for tag, attrs in page.elements if attrs.get("class") == "plot"]
    figures = [figure for result in written.results.values() for figure in result.figures()]
    assert [place["id"] for place in places] == [f"plot-{anchor(figure.id)}" for figure in figures]
    for place, figure in zip(places, figures, strict=True):
        assert place["data-spec"] is not None and place["data-table"] is not None
        specification = json.loads(page.script(place["data-spec"]), parse_constant=refused)
        assert len(specification["data"]) == len(figure.plot.data)
        table = json.loads(page.script(place["data-table"]), parse_constant=refused)
        assert table == json.loads(json.dumps(packed(finite(table_of(figure.plot)))))


def test_the_verdict_comes_before_claims_and_claims_before_figures(written, page):
    html = written.html.read_text("utf-8")
    content = json.loads(written.json.read_text("utf-8"))
    for sentence in content["verdict"]:
        assert sentence["text"] in page.text
    for result in written.results.values():
        for claim in result.claims:
            assert claim.verdict in page.text
        assert result.headlines[0].text.split(",")[0] in page.text
    assert html.index('id="verdict"') < html.index('id="claims"') < html.index('class="plot"')


def test_what_makes_the_same_report_again_is_said(page):
    settings = f"seed 0, on cpu, mesascope {__version__}, torch {torch.__version__}, mesascope report"
    assert "400 to fit readouts on" in page.text and settings in page.text


def test_many_warnings_are_folded_after_the_first_five():
    for n, n_folded in ((5, 0), (6, 1), (8, 3)):
        page = planted(warnings=tuple(f"Beware of {i}." for i in range(n)))
        boxes = [attrs for _, attrs in page.elements if attrs.get("class") == "warning"]
        assert len(boxes) == 1 + n and all(f"Beware of {i}." in page.text for i in range(n))  # one of what is missing
        assert (f"{n_folded} more warning" in page.text) == bool(n_folded)


def test_a_page_without_a_verdict_has_no_empty_box():
    assert not [attrs for _, attrs in planted().elements if attrs.get("class") == "verdict"]


def test_headings_go_down_one_level_at_a_time_and_ids_are_unique(page):
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    inside_main = levels[levels.index(1) :]
    assert inside_main.count(1) == 1 and all(b <= a + 1 for a, b in zip(inside_main, inside_main[1:], strict=False))
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids)) and not any(" " in str(id) for id in ids)


def test_two_names_have_two_ids_in_a_page_and_each_keeps_its_own():
    own, names = anchors(), ["runs/a-b", "runs/a/b", "runs/a b", "runs-a-b-2", "runs/a-b"]
    ids = [own(name) for name in names]
    assert ids == ["runs-a-b", "runs-a-b-2", "runs-a-b-3", "runs-a-b-2-2", "runs-a-b"]
    assert [own(name) for name in names] == ids and anchors()("runs/a/b") == "runs-a-b"


def test_all_links_lead_somewhere(page):
    ids = {attrs.get("id") for _, attrs in page.elements}
    assert {link.removeprefix("#") for link in links(page)} <= ids


def test_a_claim_links_to_the_figure_that_says_so_and_else_to_the_first():
    page = planted(n_figures=2)
    shown = [link for link in links(page) if link in ("#first", "#second-one")]
    contents, headline, own = shown[:2], shown[2], shown[3:]
    assert contents == ["#first", "#second-one"] and headline == "#first"
    assert own == ["#first"] * 10 + ["#second-one"] * 10


def test_a_claim_of_a_section_without_figures_links_to_the_section():
    page = planted(n_figures=0)
    assert links(page).count("#planted") == 1 + 1 + N_CLAIMS  # contents, headline, claims


def test_claims_after_the_first_dozen_are_folded():
    page = planted()
    assert f"{N_CLAIMS - 12} more claims" in page.text
    rows = [i for i, (_, attrs) in enumerate(page.elements) if str(attrs.get("id")).startswith("claim-planted")]
    (fold,) = [i for i, (tag, attrs) in enumerate(page.elements) if tag == "details" and attrs.get("class") == "more"]
    assert len([row for row in rows if row < fold]) == 12 and len(rows) == N_CLAIMS


def test_a_figure_says_how_to_read_it_what_is_drawn_and_where_it_is_from():
    page = planted()
    assert "A guide of a < b." in page.text and "Source: Us (2026)." in page.text and "Drawn: y = x2." in page.text
    tags = [tag for tag, _ in page.elements]
    assert "b" in tags and "sup" in tags


def test_every_figure_has_a_guide_an_equation_and_a_source(written):
    figures = [figure for result in written.results.values() for figure in result.figures()]
    assert len(figures) > 5
    assert not [figure.id for figure in figures if not (figure.guide and figure.equation and figure.source)]


def drawn_in(path: Path) -> list[ast.Call]:
    """Where a file makes figures of a report."""
    calls = (node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call))
    return [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "Figure"]


def test_every_analysis_gives_its_figures_an_equation_and_a_source():
    """Also those that no test draws: what is drawn depends on the model."""
    files = {path: drawn_in(path) for path in Path(analyses.__file__).parent.rglob("*.py")}
    bare = []
    for path, calls in files.items():
        for call in calls:
            said = {word.arg for word in call.keywords if not isinstance(word.value, ast.Constant) or word.value.value}
            if not {"equation", "source"} <= said:
                bare.append(f"{path.name}:{call.lineno}")
    assert bare == []
    rooms = {"comparison", "development", "sweep", *(name.replace("-", "_") for name in ANALYSES)}
    drawing = {part for path, calls in files.items() if calls for part in (path.stem, path.parent.name)}
    assert rooms - drawing == {"learned_features"} and "feature_figures" in drawing


@pytest.mark.parametrize("w_std", [None, 0.5])
def test_a_scale_of_w_that_the_checkpoint_does_not_say_is_no_word_of_the_users(tmp_path, monkeypatch, w_std):
    monkeypatch.setattr(write, "ANALYSES", {"performance": QUICK["performance"]})
    with few_prompts(100):
        page = Page(write_report(attach(GARG, w_std=w_std), tmp_path, n_prompts=100).html.read_text("utf-8"))
    assert f"w_std {w_std or 1:g} (not read from the checkpoint), noise_std 0" in page.text


def test_a_scale_of_w_that_the_checkpoint_says_stands_alone(page):
    assert "w_std 1, noise_std 0" in page.text


def test_hostile_names_are_text(hostile):
    assert hostile.text.count("alert(1)") >= 3  # title, heading, description
    assert not any(script.strip() == "alert(1)" for script in hostile.scripts)
    n_plots = sum(attrs.get("class") == "plot" for _, attrs in hostile.elements)
    assert len(hostile.scripts) == 2 * n_plots + 4  # each plot and its table, settings, content, both scripts
    embedded = json.loads(hostile.script("report"))
    assert embedded["checkpoint"].endswith(HOSTILE)
    assert embedded["model"]["about"] == HOSTILE + "\u2028&amp;"


def test_hostile_claims_and_figures_are_text():
    assert len(planted(hostile=HOSTILE).scripts) == len(planted().scripts)


@pytest.mark.parametrize(
    "text, markup",
    [
        ("<b>one</b> w<sub>t</sub>", "<b>one</b> w<sub>t</sub>"),
        ("a < b & c", "a &lt; b &amp; c"),
        ('<b onclick="x">', "&lt;b onclick=&#34;x&#34;&gt;"),
        ("<script>", "&lt;script&gt;"),
    ],
)
def test_only_simple_tags_of_a_guide_are_tags(text, markup):
    assert simple_html(text) == markup


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


def test_what_the_page_is_made_of_lies_beside_the_code():
    import mesascope.analyses.report

    folder = Path(str(mesascope.analyses.report.__file__)).parent / "template"
    pages = {"page.html.j2", "claims.html.j2", "subjects.html.j2"}
    assert {path.name for path in folder.iterdir()} == pages | {"style.css", "script.js"}
