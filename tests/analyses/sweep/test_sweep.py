import csv
import json
import shutil
from dataclasses import replace

import pytest

from mesascope.analyses import registry
from mesascope.analyses.registry import ANALYSES, Analysis
from mesascope.analyses.report.tables import table_of
from mesascope.analyses.store import Store
from mesascope.analyses.sweep import sweep_checkpoints, write_sweep
from mesascope.analyses.sweep.figures import NAMED
from mesascope.analyses.sweep.job import STARTING
from mesascope.models import MesascopeError

from ..conftest import GARG, few_prompts
from ..report.conftest import Page
from .conftest import CHEAP, Here

BYTES = 2_000
"""Most that a checkpoint with two analyses may add to a page."""


@pytest.fixture(autouse=True)
def quick():
    with few_prompts(80):
        yield


def run(runs, tmp_path, analyses=CHEAP, executor=None, **settings):
    here = executor or Here()
    return sweep_checkpoints(f"{runs}/*", tmp_path / "out", analyses, 80, executor=here, **settings), here.seen


def test_broken_foreign_and_copied_checkpoints_are_lines_of_the_table(runs, tmp_path):
    result, seen = run(runs, tmp_path)
    assert seen == [f"{runs}/a"]  # its copy costs nothing
    a, copy, broken, foreign = result.rows
    assert [row.state for row in result.rows] == ["done", "copy", "failed", "failed"]
    assert copy.copy_of == a.source and copy.headlines == a.headlines and a.first("matching") is not None
    assert "truncated or no safetensors file" in broken.errors[STARTING]
    assert "of no known format" in foreign.errors[STARTING]
    assert result.failed == (broken, foreign)
    done = result.claims[0]
    assert done.value == 2 and done.verdict == "2 failed" and "1 of them copies" in done.text


def test_what_is_done_is_not_measured_again_and_equal(runs, tmp_path):
    first, _ = run(runs, tmp_path)
    again, seen = run(runs, tmp_path)
    assert seen == [] and again.rows == first.rows and (first.n_run, again.n_run) == (1, 0)


@pytest.mark.parametrize("content", ["[]", "{}", '{"applies": true, "seconds": 1, "cpu_seconds": 1}', "cut sho"])
def test_what_is_stored_in_part_is_measured_again(runs, tmp_path, content):
    first, _ = run(runs, tmp_path)
    (tmp_path / "out" / "checkpoints" / str(first.rows[0].key) / "matching.json").write_text(content)
    again, seen = run(runs, tmp_path)
    assert seen == [f"{runs}/a"] and again.rows[0].headlines == first.rows[0].headlines


def test_another_analysis_costs_that_analysis_alone(runs, tmp_path, monkeypatch):
    run(runs, tmp_path, CHEAP[:1])
    monkeypatch.setattr(registry, "measure_performance", None)  # would fail if it were called
    result, seen = run(runs, tmp_path)
    assert seen == [f"{runs}/a"] and list(result.rows[0].headlines) == list(CHEAP)


def test_other_settings_are_measured_anew(runs, tmp_path):
    run(runs, tmp_path)
    for settings in ({"seed": 1}, {"w_std": 2.0}):
        assert run(runs, tmp_path, **settings)[1] == [f"{runs}/a"]


def test_a_sweep_that_was_stopped_goes_on_where_it_was(runs, tmp_path, tiny_run):
    sources = [f"{runs}/a", f"{runs}/a@untrained-1", f"{runs}/a@untrained-2"]
    stopped, rest = Here(stop_after=2), Here()
    with pytest.raises(KeyboardInterrupt):
        sweep_checkpoints(sources, tmp_path / "out", CHEAP, 80, executor=stopped)
    result = sweep_checkpoints(sources, tmp_path / "out", CHEAP, 80, executor=rest)
    assert (stopped.seen, rest.seen) == (sources[:2], sources[2:])
    whole = sweep_checkpoints(sources, tmp_path / "whole", CHEAP, 80, executor=Here())
    assert [row.headlines for row in whole.rows] == [row.headlines for row in result.rows]


def test_a_run_that_trained_on_is_measured_anew(runs, tmp_path):
    run(runs, tmp_path)
    shutil.copy(runs / "a" / "checkpoints" / "step_0.safetensors", runs / "a" / "model.safetensors")
    result, seen = run(runs, tmp_path)
    assert seen == [f"{runs}/a"] and result.rows[1].state == "done"  # no copy any more, and still stored


@pytest.mark.parametrize(
    "error, line",
    [
        (MesascopeError("too few prompts; use more"), "too few prompts; use more"),
        (IndexError("a mistake\nof ours"), "IndexError: a mistake of ours"),
    ],
)
def test_an_analysis_that_fails_is_named_and_the_others_are_kept(runs, tmp_path, monkeypatch, error, line):
    def fail(scope, n_prompts):
        raise error

    working = ANALYSES["matching"]
    monkeypatch.setitem(ANALYSES, "matching", Analysis(fail))
    result, _ = run(runs, tmp_path)
    assert result.rows[0].errors == {"matching": line} and result.rows[0].state == "failed"
    assert list(result.rows[0].headlines) == ["performance"]
    monkeypatch.setitem(ANALYSES, "matching", working)  # what failed is tried again, and only that
    monkeypatch.setattr(registry, "measure_performance", None)
    assert run(runs, tmp_path)[0].rows[0].done


def test_a_disk_that_is_full_ends_the_sweep(runs, tmp_path, monkeypatch):
    def full(self, *args):
        raise MesascopeError("cannot write here: No space left on device")

    class Counted(Here):
        closed = 0

        def run(self, work, jobs):
            try:
                yield from super().run(work, jobs)
            finally:
                self.closed += 1

    monkeypatch.setattr(Store, "write", full)
    here = Counted()
    with pytest.raises(MesascopeError, match="^cannot write here: No space left on device$"):
        sweep_checkpoints([f"{runs}/a", f"{runs}/a@untrained-1"], tmp_path / "out", CHEAP, 80, executor=here)
    assert here.seen == [f"{runs}/a"] and here.closed == 1


def test_an_interval_without_an_end_is_none_and_leaves_its_number(runs, tmp_path):
    first, _ = run(runs, tmp_path)
    path = tmp_path / "out" / "checkpoints" / str(first.rows[0].key) / "matching.json"
    content = json.loads(path.read_text())
    content["claims"][0] |= {"value": 0.5, "ci": [0.25, None]}  # as a store holds infinity
    path.write_text(json.dumps(content))
    again, _ = run(runs, tmp_path)
    claim = again.rows[0].first("matching")
    assert claim is not None and (claim.value, claim.ci) == (0.5, None)
    assert write_sweep(again, tmp_path / "out").html.exists()


def test_a_name_that_is_no_utf_8_costs_nobody_the_report(runs, tmp_path):
    name = b"caf\xe9".decode(errors="surrogateescape")
    (runs / "a").rename(runs / name)
    result, _ = run(runs, tmp_path)
    files = write_sweep(result, tmp_path / "out")
    assert r"/caf\udce9" in files.csv.read_text() and r"/caf\udce9" in Page(files.html.read_text()).text


def test_a_sweep_into_the_folder_of_its_runs_is_the_same_the_second_time(runs):
    first = sweep_checkpoints(f"{runs}/*", runs / "sweep", CHEAP, 80, executor=Here())
    write_sweep(first, runs / "sweep")
    again = sweep_checkpoints(f"{runs}/*", runs / "sweep", CHEAP, 80, executor=Here())
    assert first.rows == again.rows and len(first.rows) == 4


def test_a_checkpoint_that_goes_away_is_an_error_of_its_own(runs, tmp_path):
    class Late(Here):
        def run(self, work, jobs):
            shutil.rmtree(runs / "a")
            yield from super().run(work, jobs)

    result, _ = run(runs, tmp_path, executor=Late())
    assert "does not exist" in result.rows[0].errors[STARTING]


def test_what_does_not_apply_is_said_and_not_asked_again(runs, tmp_path):
    result, _ = run(runs, tmp_path, ("performance", "learned-features"))
    assert result.rows[0].not_asked == ("learned-features",) and result.rows[0].done
    assert result.table()[0]["learned-features"] == "does not apply"
    assert run(runs, tmp_path, ("performance", "learned-features"))[1] == []


def test_progress_counts_what_is_done(runs, tmp_path):
    told = []
    sweep_checkpoints(
        f"{runs}/*", tmp_path / "out", CHEAP, 80, executor=Here(), on_checkpoint=lambda *done: told.append(done)
    )
    assert told == [(f"{runs}/a", 4, 4)]


@pytest.fixture
def written(runs, tmp_path):
    result = sweep_checkpoints([f"{runs}/*", f"{runs}/a@untrained-3"], tmp_path / "out", CHEAP, 80, executor=Here())
    return result, write_sweep(result, tmp_path / "out", "mesascope sweep 'runs/*'")


def test_tables_hold_every_checkpoint_and_every_claim(written):
    result, files = written
    rows = list(csv.DictReader(files.csv.open()))
    assert [row["checkpoint"] for row in rows] == [row.source for row in result.rows]
    trained, untrained = rows[0], rows[-1]
    assert float(trained["loss"]) < float(untrained["loss"])
    assert (
        float(trained["performance.low"]) <= float(trained["performance.value"]) <= float(trained["performance.high"])
    )
    assert trained["error"] == "" and "truncated" in rows[2]["error"]
    claims = list(csv.DictReader(files.claims.open()))
    a = [claim["claim"] for claim in claims if claim["checkpoint"] == rows[0]["checkpoint"]]
    assert {"matching.model", "matching.layer 1", "performance.w_std"} <= set(a)
    assert all(claim["text"].endswith(".") for claim in claims)
    assert a == [claim["claim"] for claim in claims if claim["checkpoint"] == rows[1]["checkpoint"]]


def test_json_and_page_hold_the_same(written):
    result, files = written
    content = json.loads(files.json.read_text())
    assert content["analyses"]["sweep"]["data"]["rows"] == json.loads(json.dumps(result.table()))
    page = files.html.read_text()
    assert all(row.source in page for row in result.rows) and "mesascope sweep &#39;runs/*&#39;" in page
    assert [f'id="plot-sweep-{name}"' in page for name in CHEAP] == [True, True]
    assert json.loads(Page(page).script("report")) == content
    assert [sentence["claims"] for sentence in content["verdict"]] == [["sweep.done"], *([f"sweep.{n}"] for n in CHEAP)]
    assert content["failed"] == {row.source: row.error for row in result.failed} and content["warnings"] == [
        *result.warnings
    ]


def test_what_an_analysis_warns_of_is_told_under_the_checkpoints_name(runs, tmp_path):
    assert run(runs, tmp_path)[0].warnings == ()  # a run of our own records its scale of w
    wrong = sweep_checkpoints([str(GARG), f"{GARG}/."], tmp_path, CHEAP[:1], 80, w_std=8.0, executor=Here())
    (warning,) = wrong.warnings  # its copy is not warned of again
    assert warning.startswith(f"{GARG}: The stated scale of w") and "does not look like" in warning
    assert [f"{GARG}: {row['warnings']}" for row in wrong.table()] == [warning] * 2
    files = write_sweep(wrong, tmp_path)
    assert warning in Page(files.html.read_text()).text and warning in json.loads(files.json.read_text())["warnings"]


def test_the_table_says_once_what_is_the_same_for_all(written):
    result, files = written
    page = Page(files.html.read_text())
    table = json.loads(page.script("table-checkpoints"))
    assert table["header"][:5] == ["checkpoint", "state", *CHEAP, "loss"]
    assert not {"n dims", "n points", "layers"} & set(table["header"])
    assert "n points 7" in page.text.partition("The same for all: ")[2].partition(".")[0]
    sources = table["columns"][0]
    assert sources == [row.source for row in result.rows]


def test_a_verdict_is_named_where_all_checkpoints_agree(runs, tmp_path):
    claim = run(runs, tmp_path)[0].claims[2]  # of a run and its copy
    assert (claim.id, claim.verdict, claim.value) == ("sweep.matching", "1 step of GD", 1)
    differing = sweep_checkpoints([f"{runs}/a", f"{runs}/a@untrained-1"], tmp_path, CHEAP, 80, executor=Here())
    assert differing.claims[2].verdict == "2 different verdicts" and differing.claims[2].value == 2
    assert "1 step of GD: 1" in differing.claims[2].text


def test_every_claim_leads_to_its_figure(written):
    result, files = written
    page = Page(files.html.read_text())
    rows = [n for n, (_, attrs) in enumerate(page.elements) if str(attrs.get("id")).startswith("claim-sweep")]
    links = [next(a["href"] for tag, a in page.elements[n:] if tag == "a") for n in rows]
    assert links == [f"#sweep-{name}" for name in (CHEAP[0], *CHEAP)]  # how many were measured: the first


def test_figures_draw_every_number_under_its_verdict(written):
    result, _ = written
    for name, figure in zip(CHEAP, result.figures(), strict=True):
        traces = figure.plot.data
        assert sum(len(trace.x) for trace in traces) == 2  # the run and a twin; its copy is not drawn
        assert {trace.name.rpartition(" (")[0] for trace in traces} == set(result.verdicts(name))


def many(result, n):
    a = result.rows[0]
    return replace(result, rows=tuple(replace(a, source=f"runs/{index:04}") for index in range(n)))


def test_names_of_many_checkpoints_are_not_drawn_and_still_in_the_table(written):
    result, _ = written
    for n, drawn in ((NAMED, True), (NAMED + 1, False)):
        plot = many(result, n).figures()[0].plot
        assert plot.layout.yaxis.showticklabels == drawn
        header, *rows = table_of(plot)
        assert sorted(row[header.index("y")] for row in rows) == [f"runs/{index:04}" for index in range(n)]


def test_a_page_grows_by_little_with_each_checkpoint(written, tmp_path):
    result, _ = written
    few, more = (write_sweep(many(result, n), tmp_path).html.stat().st_size for n in (NAMED + 1, NAMED + 101))
    assert (more - few) / 100 < BYTES


def test_a_sweep_without_any_result_still_writes_its_table(tmp_path):
    result = sweep_checkpoints("nowhere", tmp_path / "out", CHEAP, executor=Here())
    files = write_sweep(result, tmp_path / "out")
    assert result.figures() == () and result.claims[0].verdict == "1 failed"
    assert "does not exist" in files.csv.read_text() and files.claims.read_text() == "\n"


def test_a_page_names_all_that_failed_and_the_first_five_at_its_top(tmp_path):
    result = sweep_checkpoints([f"nowhere-{index}" for index in range(7)], tmp_path, CHEAP, executor=Here())
    page = Page(write_sweep(result, tmp_path).html.read_text())
    assert "It lacks nowhere-0, nowhere-1, nowhere-2, nowhere-3, nowhere-4 and 2 more; what is missing" in page.text
    assert "not nowhere-0, nowhere-1, nowhere-2, nowhere-3, nowhere-4 and 2 more." in page.text
    missing = page.text.rpartition("What is missing")[2]
    assert all(f"nowhere-{index}failed: loading: nowhere-{index} does not" in missing for index in range(7))


def test_a_checkpoint_whose_name_looks_like_a_tag_is_shown_as_it_is(runs, tmp_path):
    (runs / "a").rename(runs / "<b>a")
    result = sweep_checkpoints(f"{runs}/<b>a", tmp_path / "out", CHEAP[:1], 80, executor=Here())
    (figure,) = result.figures()
    assert figure.plot.layout.yaxis.ticktext[0].endswith("/&lt;b&gt;a")
    assert figure.plot.data[0].customdata[0][0].endswith("/&lt;b&gt;a")
    page = write_sweep(result, tmp_path / "out").html.read_text()
    assert "/<b>a" not in page and table_of(figure.plot)[1][2].endswith("/<b>a")


def test_an_unknown_analysis_is_refused(tmp_path):
    with pytest.raises(MesascopeError, match="no analysis is called 'readout'"):
        sweep_checkpoints("nowhere", tmp_path, ["readout"])
