"""Pages of the documentation, once `make docs` has built them."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from .conftest import KEPT, PLOTS, SENDING

BUILT = Path(__file__).parents[2] / "out" / "docs"
PAGES = sorted(BUILT.rglob("*.html"))

# Only `make docs` runs these: what lies there at other times is of an earlier tree.
pytestmark = pytest.mark.docs


@dataclass
class Walked:
    """What one page said, asked for, holds, draws and links to."""

    console: list[str]
    asked: list[str]
    ids: set[str]
    links: list[str]
    n_plots: int
    n_drawn: int
    n_sending: int


def walk(open_page, path: Path) -> Walked:
    opened = open_page(path)
    ids = opened.page.evaluate("[...document.querySelectorAll('[id]')].map(one => one.id)")
    links = opened.page.evaluate("[...document.querySelectorAll('a[href]')].map(link => link.href)")
    n_plots, n_drawn = (opened.page.locator(f":is({PLOTS}){drawn}").count() for drawn in ("", ":has(.main-svg)"))
    n_sending = opened.page.locator(SENDING).count()
    if path == BUILT / "index.html":
        KEPT.mkdir(parents=True, exist_ok=True)
        opened.page.screenshot(path=KEPT / "docs.png")
    opened.page.context.close()
    return Walked(opened.console, opened.asked, {*ids, ""}, links, n_plots, n_drawn, n_sending)


def test_every_page_is_silent_asks_for_and_sends_nothing_draws_its_figures_and_links_to_what_is_there(open_page):
    assert PAGES, "the documentation is not built; run make docs"
    walked = {path.as_uri(): walk(open_page, path) for path in PAGES}
    assert {uri: page.console + page.asked for uri, page in walked.items() if page.console or page.asked} == {}
    assert {uri: page.n_drawn for uri, page in walked.items()} == {uri: page.n_plots for uri, page in walked.items()}
    assert [uri for uri, page in walked.items() if page.n_sending] == []
    if os.environ.get("NOTEBOOKS") != "off":  # or no figure is drawn anywhere
        assert walked[(BUILT / "figures.html").as_uri()].n_plots >= 30
    dead = []
    for uri, page in walked.items():
        for link in page.links:
            file, _, place = link.partition("#")
            if not file.startswith("file:"):
                continue  # to the papers, which nobody asks for until a reader clicks
            there = place in walked[file].ids if file in walked else Path(file.removeprefix("file://")).exists()
            if not there:
                dead.append((uri, link))
    assert any(page.links for page in walked.values()) and dead == []
