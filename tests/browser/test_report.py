import csv
import json
import shutil
import xml.etree.ElementTree as ElementTree

import pytest

from mesascope.analyses.claim import finite
from mesascope.analyses.report.page import anchor
from mesascope.analyses.report.tables import table_of

from ..analyses.report.planted import Planted
from ..conftest import find_chromium
from .conftest import KEPT, SENDING, imported

KINDS = ["report", "compare", "develop", "sweep"]
SCHEMES = ["light", "dark"]
PAPER_INK, DARK_INK = "rgb(27, 27, 31)", "rgb(236, 236, 241)"


INKS = {"light": PAPER_INK, "dark": DARK_INK}
FIGURES = Planted().figures()


def ink(page) -> set[str]:
    """The colours of the words on the first plot's axes."""
    return set(
        page.locator(".plot")
        .first.locator("text.xtitle, .xtick text")
        .evaluate_all("all => all.map(text => getComputedStyle(text).fill)")
    )


def accessibility():
    return imported("axe_playwright_python.sync_playwright").Axe()


def faults(axe, page) -> list[tuple[str, str]]:
    """What axe finds, and where."""
    return [(fault["id"], fault["nodes"][0]["html"]) for fault in axe.run(page).response["violations"]]


def keep(page, name: str) -> None:
    KEPT.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=KEPT / f"{name}.png", full_page=True)


def resized(page, width: int) -> None:
    """Another window, once all in it has followed; an error if something sticks out of it for good."""
    page.set_viewport_size({"width": width, "height": 900})
    page.wait_for_function("width => document.documentElement.scrollWidth <= width", arg=width, timeout=10_000)


@pytest.mark.parametrize("kind", KINDS)
def test_every_page_opens_silently_asks_for_nothing_draws_all_and_has_no_fault(open_page, pages, kind):
    """In light, in dark and on paper; pictures of all are kept."""
    axe = accessibility()
    opened = open_page(pages[kind], color_scheme="light")
    page = opened.page
    n_plots = page.locator(".plot").count()
    assert n_plots and page.locator(".plotly-graph-div, .plot:has(.main-svg)").count() == n_plots
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        page.wait_for_function("ink => getComputedStyle(document.body).color === ink", arg=INKS[scheme])
        keep(page, f"{kind}-{scheme}")
        assert faults(axe, page) == []
    page.set_viewport_size({"width": 660, "height": 900})
    page.emulate_media(media="print", color_scheme="light")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    keep(page, f"{kind}-print")
    assert page.locator(".plot .main-svg").first.evaluate("svg => svg.width.baseVal.value") == 660
    assert opened.console == [] and opened.asked == []


@pytest.mark.parametrize("kind", [*KINDS, "figures"])
def test_no_plot_offers_to_send_itself_away(open_page, pages, kind):
    opened = open_page(pages[kind])
    assert opened.page.locator(".modebar-btn").count() and not opened.page.locator(SENDING).count()
    context = opened.page.evaluate("document.querySelector('.js-plotly-plot')._context")
    assert context["showSendToCloud"] is False and context["displaylogo"] is False
    refused = opened.page.evaluate("fetch('https://example.org').then(() => 'answered', error => error.name)")
    assert refused == "TypeError" and opened.asked == []


def test_what_would_send_a_plot_away_is_noticed(open_page, planted):
    page = open_page(planted).page
    page.evaluate("Plotly.newPlot(plots[0], [{y: [1, 2]}], {}, {showSendToCloud: true, displaylogo: true})")
    assert page.locator(SENDING).count() >= 2


def test_figures_of_a_report_are_drawn_in_their_order(open_page, report):
    figures = [figure for result in report.results.values() for figure in result.figures()]
    drawn = open_page(report.html).page.locator(".plot:has(.main-svg)").evaluate_all("all => all.map(plot => plot.id)")
    assert drawn == [f"plot-{anchor(figure.id)}" for figure in figures]


@pytest.mark.parametrize("kind", KINDS)
def test_no_page_has_a_narrow_column_or_sticks_out(open_page, pages, kind):
    page = open_page(pages[kind]).page
    for width in (400, 800, 1280, 1400):
        resized(page, width)
        main = page.locator("main").bounding_box()["width"]
        assert main >= min(width - 60, 800)


def test_the_checkpoints_of_a_sweep_can_be_taken_as_csv(open_page, pages, tmp_path):
    page = open_page(pages["sweep"]).page
    with page.expect_download() as taken:
        page.locator("button[data-plot=rows-checkpoints]").click()
    assert taken.value.suggested_filename == "checkpoints.csv"
    taken.value.save_as(tmp_path / "checkpoints.csv")
    with (tmp_path / "checkpoints.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 and rows[2]["state"] == "failed" and rows[2]["checkpoint"].endswith("/<b>broken")


def test_without_a_browser_tests_are_skipped_unless_one_is_required(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    for name in ("MESASCOPE_BROWSER", "BROWSER_PATH"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt install chromium"):
        find_chromium()
    monkeypatch.setenv("MESASCOPE_BROWSER", "required")
    with pytest.raises(pytest.fail.Exception, match="MESASCOPE_BROWSER=required, and no Chromium"):
        find_chromium()
    with pytest.raises(pytest.fail.Exception, match="and nowhere is not installed"):
        imported("nowhere.at_all")


def test_a_browser_would_not_let_the_page_ask(open_page, planted):
    opened = open_page(planted)
    refused = opened.page.evaluate("fetch('https://example.org').then(() => 'answered', error => error.name)")
    assert refused == "TypeError" and opened.asked == []
    assert any("Content Security Policy" in line for line in opened.console)


def test_what_is_asked_for_and_said_is_noticed(open_page, tmp_path):
    page = tmp_path / "asking.html"
    page.write_text("<img alt='' src='https://example.org/x.png'><script>console.error('oh')</script>")
    opened = open_page(page)
    assert opened.asked == ["https://example.org/x.png"] and "oh" in opened.console


@pytest.mark.parametrize("scheme", SCHEMES)
def test_axe_finds_nothing_serious_in_what_is_unfolded(open_page, planted, scheme):
    axe = accessibility()
    page = open_page(planted, color_scheme=scheme).page
    page.locator("summary").first.click()
    assert faults(axe, page) == []
    # It does look: what nobody could read is found.
    page.evaluate("Object.assign(document.querySelector('h1').style, {color: '#888', background: '#999'})")
    assert "color-contrast" in [name for name, _ in faults(axe, page)]


def test_a_claim_leads_to_its_figure(open_page, planted):
    page = open_page(planted).page
    link = page.locator("table.claims a").first
    link.click()
    target = page.locator(link.get_attribute("href"))
    assert target.evaluate("target => target.matches(':target')")
    top = target.evaluate("target => target.getBoundingClientRect().top")
    assert -1 <= top < 900


def test_the_keyboard_reaches_the_verdict_contents_and_figures(open_page, planted):
    page = open_page(planted).page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the verdict"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "verdict"
    page.reload()
    reached = []
    for _ in range(400):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate(
                "document.activeElement.getAttribute('href') || document.activeElement.id"
                " || document.activeElement.dataset.take || document.activeElement.tagName"
            )
        )
        if reached[-1] == "csv":
            break
    assert "#claims" in reached and "#missing" in reached  # the table of contents
    assert any(name.startswith("plot-") for name in reached)
    assert {"svg", "png", "csv"} <= set(reached)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_figures_menu_is_chosen_from_by_keyboard_and_stays_so_on_paper_and_in_files(
    open_page, planted, tmp_path, scheme
):
    page = open_page(planted, color_scheme=scheme).page
    menu, plot = page.get_by_role("combobox", name="Show in Figure 3. Third"), page.locator("#plot-third")

    def shown() -> list[object]:
        return plot.evaluate("plot => [plot.data.map(trace => trace.visible), plot.layout.xaxis.title.text]")

    assert shown() == [[True, False], "t"]
    menu.focus()
    page.keyboard.press("ArrowDown")
    assert menu.input_value() == "turned" and shown() == [[False, True], "turned t"]
    keep(page, f"menu-{scheme}")
    page.emulate_media(color_scheme="dark" if scheme == "light" else "light")
    page.emulate_media(media="print", color_scheme="light")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert shown() == [[False, True], "turned t"] and menu.is_visible()
    page.emulate_media(media="screen", color_scheme=scheme)
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    with page.expect_download() as taken:
        page.locator("button[data-take=svg][data-plot=plot-third]").click()
    taken.value.save_as(tmp_path / "third.svg")
    assert "turned t" in (tmp_path / "third.svg").read_text("utf-8")


@pytest.mark.parametrize("kind", KINDS)
def test_the_toolbars_of_plots_are_no_stops_of_the_tabulator(open_page, pages, kind):
    page = open_page(pages[kind]).page
    page.emulate_media(color_scheme="dark")  # draws anew
    page.locator(".plot").first.hover()
    stops = page.locator(".modebar-btn").evaluate_all("all => all.map(button => button.tabIndex)")
    assert stops and set(stops) == {-1}


def test_without_javascript_a_page_says_where_the_numbers_are(chromium, planted):
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(planted.as_uri())
    keep(page, "no-javascript")
    note = page.locator(".scriptless")
    assert note.is_visible() and "report.json" in note.inner_text()
    assert page.locator("table.claims").first.is_visible()
    assert not page.locator(".plot:visible, .take:visible").count()
    context.close()


def test_arrow_keys_read_a_plots_values(open_page, planted):
    page = open_page(planted).page
    figure = FIGURES[0]
    header, *rows = finite(table_of(figure.plot))
    plot = page.locator(f"#plot-{figure.id}")
    plot.focus()

    def said(key: str) -> str:
        plot.press(key)
        return page.locator(f"#{figure.id} .reading").inner_text()

    def words(row: int) -> str:
        # As JavaScript writes numbers: 0, not 0.0.
        values = [int(v) if isinstance(v, float) and v.is_integer() else v for v in rows[row]]
        pairs = "; ".join(f"{name}: {value}" for name, value in zip(header, values, strict=True))
        return f"{pairs} ({row + 1} of {len(rows)})"

    second = next(i for i, row in enumerate(rows) if row[0] != rows[0][0])
    assert said("ArrowRight") == words(0)
    assert said("ArrowRight") == words(1)
    assert said("ArrowLeft") == words(0)
    assert said("ArrowDown") == words(second)
    assert said("ArrowUp") == words(second - 1)
    for _ in rows:
        last = said("ArrowDown")
    assert last == words(len(rows) - 1)  # and not beyond


def test_downloads_are_the_figure_and_its_exact_values(open_page, planted, tmp_path):
    page = open_page(planted, color_scheme="dark").page
    figure = FIGURES[0]
    for kind in ("svg", "png", "csv"):
        with page.expect_download() as taken:
            page.locator(f"#{figure.id} button[data-take={kind}]").click()
        assert taken.value.suggested_filename == f"{figure.id}.{kind}"
        taken.value.save_as(tmp_path / f"figure.{kind}")
    with (tmp_path / "figure.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    expected_header, *expected = finite(table_of(figure.plot))
    assert header == expected_header and len(rows) == len(expected)
    for row, wanted in zip(rows, expected, strict=True):
        read = [type(value)(text) if value is not None else text for text, value in zip(row, wanted, strict=True)]
        assert read == ["" if value is None else value for value in wanted]
    svg = ElementTree.parse(tmp_path / "figure.svg").getroot()
    words = [text.text for text in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert any(figure.plot.layout.xaxis.title.text in (word or "") for word in words)
    assert DARK_INK not in ElementTree.tostring(svg, "unicode")  # dark ink though the page is dark
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_values_unfold_as_a_table(open_page, planted):
    page = open_page(planted).page
    figure = FIGURES[0]
    page.locator(f"#{figure.id} summary").click()
    rows = page.locator(f"#{figure.id} details.values tbody tr")
    rows.first.wait_for()
    assert rows.count() == len(table_of(figure.plot)) - 1


def test_the_page_holds_the_json_that_lies_beside_it(open_page, report):
    embedded = open_page(report.html).page.locator("#report").evaluate("script => script.textContent")
    assert json.loads(embedded) == json.loads(report.json.read_text("utf-8"))


def test_paper_is_light_and_shows_every_claim_whatever_the_screen(open_page, planted):
    page = open_page(planted, color_scheme="dark").page
    on_screen = ink(page)
    assert page.locator("label.choose select").count() == 1 and page.locator(".updatemenu-header").count() == 0
    page.emulate_media(media="print", color_scheme="dark")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert ink(page) == {PAPER_INK} and on_screen == {DARK_INK}
    assert page.locator("label.choose select").is_visible()  # it says what is shown
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator("details.more[open]").count() == 1
    assert not page.locator("nav.contents").is_visible() and not page.locator("button:visible").count()
    width = page.locator(".plot .main-svg").first.evaluate("svg => svg.width.baseVal.value")
    assert width == 660
    page.emulate_media(media="screen", color_scheme="dark")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert ink(page) == on_screen
    assert page.locator("details.more[open]").count() == 0
    assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF")


def test_plots_follow_the_readers_scheme(open_page, planted):
    page = open_page(planted, color_scheme="light").page
    assert ink(page) == {PAPER_INK}
    page.emulate_media(color_scheme="dark")
    expect = imported("playwright.sync_api").expect
    expect(page.locator(".plot .xtick text").first).to_have_css("fill", DARK_INK)
    assert page.locator(".plot .column-cell text").first.evaluate("word => getComputedStyle(word).fill") == DARK_INK


def contrast_with_ground(page, selector: str) -> list[float]:
    """WCAG's contrast of each line with the page, by an own computation."""
    script = "all => all.map(line => getComputedStyle(line).stroke.match(/[0-9]+/g).slice(0, 3).map(Number))"
    lines = page.locator(selector).evaluate_all(script)
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).map(Number)")

    def luminance(colour: list[int]) -> float:
        linear = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
        return float(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])

    return [
        (max(a, b) + 0.05) / (min(a, b) + 0.05) for a, b in ((luminance(line), luminance(ground)) for line in lines)
    ]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_line_stands_out_from_its_ground(open_page, planted, scheme):
    page = open_page(planted, color_scheme=scheme).page
    contrasts = contrast_with_ground(page, "#plot-second-one .lines path.js-line")
    assert len(contrasts) == 7 and min(contrasts) >= 2.5


def test_nothing_sticks_out_of_a_narrow_or_a_wide_window(open_page, planted):
    page = open_page(planted).page
    for width in (360, 800, 1280, 1800):
        resized(page, width)
        contents, main = (page.locator(name).bounding_box() for name in ("nav.contents", "main"))
        beside = contents["x"] + contents["width"] <= main["x"]
        assert beside == (width >= 1280)
