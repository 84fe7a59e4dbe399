"""Every analysis on an untrained model of every family: it must run through, and find nothing."""

import json

import pytest

from mesascope.analyses import (
    Causes,
    Curvature,
    Identification,
    Induction,
    Matching,
    Performance,
    Readouts,
    attach,
    scope,
    units,
    write_report,
)
from mesascope.analyses.causality.cause import IN_USE
from mesascope.analyses.claim import REACHED
from mesascope.analyses.identification import evidence
from mesascope.models import HookedRegressor, RegressorConfig
from mesascope.models.training import RunConfig
from mesascope.models.training.presets import read_preset

from .conftest import few_prompts

FAMILIES = {
    "decoder": "fu2024/width-8",
    "lstm": "fu2024/lstm",
    "linear self-attention": "lsa-2",
    "tied": "lsa-2",
    "separate tokens": "vonoswald/separate-tokens",
    "softmax on joint tokens": "vonoswald/softmax",
    "sine": "vonoswald/sine",
    "gradient step on sine": "vonoswald/sine-gd",
    "induction": "induction",
}


def untrained(family: str) -> tuple[RunConfig, HookedRegressor]:
    preset = read_preset(FAMILIES[family])
    cfg = preset.model
    if family == "lstm":
        cfg = cfg.model_copy(update={"d_model": 32, "d_head": 32})  # a readout of all tokens has as many times more
    if family == "tied":
        cfg = RegressorConfig.linear_self_attention(cfg.n_dims, cfg.n_points, n_layers=3, tied=True)
    return preset, HookedRegressor(cfg, seed=3)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units, "MIN_UNIT", 5)
    monkeypatch.setattr(evidence, "N_BOOTSTRAPS", 100)
    monkeypatch.setattr(scope, "N_TWINS", 4)


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_is_found_in_an_untrained_model(family, quick, unchecked_shapes, tmp_path):
    """Shapes are executed where each analysis is tested by itself; here they would cost three times as much."""
    preset, model = untrained(family)
    one_point = len(model.read_points(preset.task.n_points)) == 1
    with few_prompts(200 if one_point else 60):
        report = write_report(attach(model, task=preset.task), tmp_path, n_prompts=400)
    performance = report.results["performance"]
    assert isinstance(performance, Performance)
    assert {part.verdict for part in performance.components} <= {"no better than zero", "undetermined"}
    # A model that has learned at no scale was not trained at another one.
    assert performance.warnings == ()
    discrete = family == "induction"
    expected_sections = ["performance"]
    if not discrete:
        expected_sections += ["readouts", "identification"]
        expected_sections += ["spectral"] * getattr(preset.task, "linear", False) + ["similarity"]
        expected_sections += ["matching"] * (family != "lstm") + ["curvature"] * (model.cfg.layout == "joint")
        expected_sections += ["learned-features"] * ("sine" in family)
    expected_sections += ["induction"] * (family != "lstm") + ["causality"] * (not discrete)
    assert list(report.results) == expected_sections
    matching, curvature = report.results.get("matching"), report.results.get("curvature")
    assert not isinstance(matching, Matching) or matching.family is None
    assert not isinstance(curvature, Curvature) or "curvature correction in" not in curvature.verdict
    induction, causality = report.results.get("induction"), report.results.get("causality")
    assert not isinstance(induction, Induction) or induction.verdict in ("no circuit", "undetermined")
    assert not isinstance(causality, Causes) or not {c.verdict for c in causality.causes} & set(IN_USE)
    if not discrete:
        readouts, identified = report.results["readouts"], report.results["identification"]
        assert isinstance(readouts, Readouts) and isinstance(identified, Identification)
        assert "decodable" not in {layer.verdict for layer in readouts.layers}
        assert {layer.verdict.text for layer in identified.layers} <= {
            "no algorithm",
            "none of the listed",
            REACHED,
        }
        n_stages = model.cfg.n_layers + 1 + model.cfg.final_norm
        assert len(readouts.layers) == n_stages and len(identified.layers) == n_stages + 1
    page = report.html.read_text("utf-8")
    expected = {
        "lstm": "3 layers of LSTM, width 32,",
        "sine": "attention by layer: none, linear,",
        "induction": "repeated sequence, 32 dimensions, 48 points</dd>",
    }
    assert expected.get(family, f"{model.cfg.attentions[0]}") in page
    content = json.loads(report.json.read_text("utf-8"))
    assert content["analyses"].keys() == report.results.keys()
    assert all(claim["verdict"] for analysis in content["analyses"].values() for claim in analysis["claims"])
