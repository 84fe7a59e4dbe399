"""Pages of the documentation, once `make docs` has built them."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from .conftest import KEPT

BUILT = Path(__file__).parents[2] / "out" / "docs"
PAGES = sorted(BUILT.rglob("*.html"))

pytestmark = pytest.mark.skipif(not PAGES, reason="the documentation is not built; run make docs")


@dataclass
class Walked:
    """What one page said, asked for, holds and links to."""

    console: list[str]
    asked: list[str]
    ids: set[str]
    links: list[str]


def walk(open_page, path: Path) -> Walked:
    opened = open_page(path)
    ids = opened.page.evaluate("[...document.querySelectorAll('[id]')].map(one => one.id)")
    links = opened.page.evaluate("[...document.querySelectorAll('a[href]')].map(link => link.href)")
    if path == BUILT / "index.html":
        KEPT.mkdir(parents=True, exist_ok=True)
        opened.page.screenshot(path=KEPT / "docs.png")
    opened.page.context.close()
    return Walked(opened.console, opened.asked, {*ids, ""}, links)


def test_every_page_is_silent_asks_for_nothing_and_links_to_what_is_there(open_page):
    walked = {path.as_uri(): walk(open_page, path) for path in PAGES}
    assert {uri: page.console + page.asked for uri, page in walked.items() if page.console or page.asked} == {}
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
