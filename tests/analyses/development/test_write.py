import json

import pytest

from mesascope import __version__
from mesascope.analyses.development import trace_development, write_development
from mesascope.models import MesascopeError

from .conftest import STEPS, Counted, performance


def test_a_report_of_a_run_holds_its_claims_numbers_and_figures(tiny_run, tmp_path):
    found = trace_development(tiny_run, performance() | Counted().followed, n_prompts=100)
    report = write_development(found, tmp_path / "out", command="mesascope develop it")
    content = json.loads(report.json.read_text())
    assert content["checkpoint"] == str(tiny_run) and content["version"] == __version__
    assert content["command"] == "mesascope develop it" and content["task"]["n_dims"] == 2
    section = content["analyses"]["development"]
    assert [claim["id"] for claim in section["claims"]] == [claim.id for claim in found.claims]
    assert section["data"]["steps"] == STEPS and len(section["data"]["series"]) == 2
    page = report.html.read_text()
    assert all(figure.title in page for figure in found.figures()) and len(found.figures()) == 3


def test_the_report_states_the_scale_that_the_user_stated(tiny_run, tmp_path):
    found = trace_development(tiny_run, Counted().followed, w_std=2.0)
    assert json.loads(write_development(found, tmp_path).json.read_text())["task"]["w_std"] == 2.0


def test_a_folder_that_cannot_be_written_is_refused(tiny_run, tmp_path):
    (tmp_path / "file").write_text("")
    found = trace_development(tiny_run, Counted().followed)
    with pytest.raises(MesascopeError, match="cannot write to"):
        write_development(found, tmp_path / "file" / "out")
