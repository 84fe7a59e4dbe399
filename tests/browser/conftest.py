from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from mesascope.analyses import Report
from mesascope.analyses.comparison import compare, write_comparison
from mesascope.analyses.development import trace_development, write_development
from mesascope.analyses.report.figures import write_figures
from mesascope.analyses.sweep import sweep_checkpoints, write_sweep

from ..analyses.development.conftest import Counted
from ..analyses.report.conftest import small_report
from ..analyses.report.planted import planted_html
from ..analyses.sweep.conftest import Here
from ..conftest import unavailable

KEPT = Path(__file__).parents[2] / "out" / "browser"
"""Where screenshots stay, for whoever wants to see what was tested."""


@dataclass
class Opened:
    """A page in Chromium, with what it said and asked for."""

    page: Any
    console: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    """Addresses of anything that is not on this machine."""


PLOTS = ".plot, .plotly-graph-div"
"""Places of figures: a report's own, and those of a notebook's page."""


SENDING = '[data-title^="Share"], [data-title^="Edit in"], [data-title*="loud"], a.modebar-btn[href], .plotlyjsicon'
"""What Plotly would put beside a plot to open a site of its maker, or to send the plot there."""


def imported(module: str) -> Any:
    """A package that only these tests need."""
    try:
        return import_module(module)
    except ImportError:
        unavailable(f"{module.partition('.')[0]} is not installed (pip install 'mesascope[dev]')")


@pytest.fixture(scope="package")
def chromium(chromium_path: str) -> Iterator[Any]:
    """A browser without a screen, for all tests of this folder: Playwright's loop must not run while others do."""
    with imported("playwright.sync_api").sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path, args=["--no-sandbox"])
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
        opened.page.locator(f":is({PLOTS}):not(:has(.main-svg))").first.wait_for(state="detached")
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


@pytest.fixture(scope="session")
def pages(report: Report, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page of every command that writes one; the sweep's has checkpoints that cannot be loaded."""
    folder = tmp_path_factory.mktemp("pages")
    (folder / "<b>broken").mkdir()
    pair = ["zoo:lsa-1", "zoo:lsa-1@untrained-3"]
    compared = compare(pair, ("matching", "learned-features"), 80, n_paired=40)
    developed = trace_development("zoo:separate-tokens", Counted().followed)
    sources = [*pair, str(folder / "<b>broken")]
    swept = sweep_checkpoints(sources, folder / "sweep", ("matching",), 80, executor=Here())
    figures = write_figures(next(iter(report.results.values())), folder / "figures")
    return {
        "report": report.html,
        "figures": figures[0],
        "compare": write_comparison(compared, folder / "compare", "mesascope compare").html,
        "develop": write_development(developed, folder / "develop", "mesascope develop").html,
        "sweep": write_sweep(swept, folder / "sweep", "mesascope sweep").html,
    }
