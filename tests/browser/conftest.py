import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mesascope.analyses import Report

from ..analyses.report.conftest import small_report
from ..analyses.report.planted import planted_html

KEPT = Path(__file__).parents[2] / "out" / "browser"
"""Where screenshots stay, for whoever wants to see what was tested."""


@dataclass
class Opened:
    """A page in Chromium, with what it said and asked for."""

    page: Any
    console: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    """Addresses of anything that is not on this machine."""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A browser without a screen. One for each module: Playwright's loop must not run while other tests do."""
    sync_api = pytest.importorskip("playwright.sync_api")
    found = [path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))]
    if not found:
        pytest.skip("no Chromium or Chrome is installed (on Debian: apt install chromium)")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found[0], args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Any) -> Iterator[Callable[..., Opened]]:
    """Opens a file with all its plots drawn; takes what `Browser.new_context` does."""
    contexts = []

    def opening(path: Path, **options: Any) -> Opened:
        context = chromium.new_context(**{"viewport": {"width": 1400, "height": 900}} | options)
        contexts.append(context)
        opened = Opened(context.new_page())

        def answer(route: Any) -> None:
            if route.request.url.startswith("file:"):
                route.continue_()
            else:
                opened.asked.append(route.request.url)
                route.abort()

        context.route("**/*", answer)
        opened.page.on("console", lambda message: opened.console.append(message.text))
        opened.page.on("pageerror", lambda error: opened.console.append(str(error)))
        opened.page.goto(path.as_uri())
        opened.page.locator(".plot:not(:has(.main-svg))").first.wait_for(state="detached")
        return opened

    yield opening
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """A small report on a bundled specimen."""
    return small_report("zoo:lsa-1", tmp_path_factory.mktemp("browser"))


@pytest.fixture(scope="session")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with plots of every kind and many claims, of no model at all."""
    path = tmp_path_factory.mktemp("planted") / "report.html"
    path.write_text(planted_html(), "utf-8")
    return path
