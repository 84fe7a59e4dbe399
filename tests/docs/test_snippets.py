import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesascope.analyses.matching import figures, layer_comparison, layer_match, matching
from mesascope.analyses.registry import ANALYSES
from mesascope.models.formats import registry

from .snippets import FENCED, outputs, snippets

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted([*DOCS.glob("errors/*.md"), *DOCS.glob("how-to/*.md")])
RUN = [page for page in PAGES if page.stem != "index"]


@pytest.fixture
def registries(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever a page registers is gone behind it."""
    monkeypatch.setattr(registry, "FORMATS", registry.FORMATS)
    for module in (figures, layer_comparison, layer_match, matching):
        monkeypatch.setattr(module, "FAMILIES", module.FAMILIES)
    before = dict(ANALYSES)
    yield
    ANALYSES.clear()
    ANALYSES.update(before)


@pytest.mark.usefixtures("registries", "unchecked_shapes")
@pytest.mark.parametrize("page", RUN, ids=lambda page: f"{page.parent.name}/{page.stem}")
def test_a_page_prints_what_it_says(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for snippet, printed in outputs(page.read_text(encoding="utf-8")):
        assert printed == snippet.said, snippet.code


@pytest.mark.parametrize("page", RUN, ids=lambda page: f"{page.parent.name}/{page.stem}")
def test_every_page_shows_something(page):
    assert any(snippet.said for snippet in snippets(page.read_text(encoding="utf-8")))


@pytest.mark.parametrize("page", sorted(DOCS.glob("how-to/[!i]*.md")), ids=lambda page: page.stem)
def test_an_addition_takes_less_than_40_lines(page):
    blocks = [
        block["body"] for block in FENCED.finditer(page.read_text(encoding="utf-8")) if block["language"] == "python"
    ]
    lengths = [len([line for line in body.splitlines() if line.strip()]) for body in blocks]
    assert max(lengths) < 40, lengths


IMPORT = re.compile(r"^ *from (?P<module>mesascope\S*) import (?P<names>\([^)]*\)|.*)$", re.MULTILINE)


def test_no_page_teaches_a_name_that_is_not_for_readers():
    taught = {page: IMPORT.findall(page.read_text(encoding="utf-8")) for page in DOCS.rglob("*.md")}
    assert sum(map(len, taught.values())) > 20
    for page, imports in taught.items():
        words = [word for line in imports for word in re.findall(r"\w+", " ".join(line))]
        assert not [word for word in words if word.startswith("_")], page


def test_a_page_without_code_has_no_snippets():
    assert list(snippets("Words alone.")) == []


def test_a_snippet_is_held_against_the_text_behind_it():
    page = "```python\nprint(1)\n```\n```text\n1\n```\n\n```python\nx = 2\n```\nprose\n```text\nno output\n```\n"
    assert [(snippet.code, snippet.said) for snippet in snippets(page)] == [("print(1)\n", "1\n"), ("x = 2\n", "")]


def test_an_error_that_is_not_ours_is_not_taken_for_a_refusal():
    with pytest.raises(ZeroDivisionError):
        list(outputs("```python\n1 / 0\n```\n"))


def test_links_between_pages_are_alive():
    for page in DOCS.rglob("*.md"):
        for target in re.findall(r"\]\(([^)#:\s]+\.(?:md|png))", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page}: {target}"
