from html.parser import HTMLParser
from pathlib import Path

import pytest

from mesascope.analyses import Report, attach, write_report
from mesascope.analyses.registry import ANALYSES
from mesascope.analyses.report import write

from ..conftest import few_prompts


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


SOME = ("performance", "readouts", "matching")
QUICK = {name: analysis for name, analysis in ANALYSES.items() if name in SOME}
"""Results of several kinds in seconds; tests of the command line and of families run all analyses."""


def small_report(ckpt: Path | str, out: Path, command: str = "") -> Report:
    """What `write_report` makes of a few analyses on few prompts."""
    with few_prompts(100), pytest.MonkeyPatch.context() as patch:
        patch.setattr(write, "ANALYSES", QUICK)
        return write_report(attach(ckpt), out, n_prompts=400, command=command)


@pytest.fixture(scope="session")
def written(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Report:
    out = tmp_path_factory.mktemp("report") / "new" / "folder"
    return small_report(tiny_run, out, command="mesascope report <&> --out 'a b'")


@pytest.fixture(scope="session")
def page(written: Report) -> Page:
    return Page(written.html.read_text("utf-8"))


def refused(constant: str) -> None:
    """What a JSON parser does with NaN."""
    raise AssertionError(f"{constant} is not JSON")
