"""Matrices of published code, through every analysis."""

from typing import Any

import numpy as np
import pytest
import torch

from mesascope.analyses import Curvature, Matching, attach, units, write_report
from mesascope.analyses.registry import ANALYSES
from mesascope.models import gd_plus_plus, regauge

from .conftest import few_prompts


@pytest.mark.slow
def test_plain_matrices_go_through_every_analysis_that_a_run_does(monkeypatch, tmp_path):
    monkeypatch.setattr(units, "MIN_UNIT", 5)  # predictions at one point
    model = regauge(gd_plus_plus(4, 9, [0.6, 0.8], [0.3, 0.0]), 0)
    arrays: dict[str, Any] = {
        name: torch.stack([getattr(attention, at) for attention in model.attentions]).detach().numpy()
        for name, at in (("W_Q", "W_Q"), ("W_K", "W_K"), ("W_V", "W_V"), ("P", "W_O"))
    }
    np.savez(tmp_path / "weights.npz", convention="rows", n_points=9, **arrays)
    with few_prompts(200):
        report = write_report(attach(tmp_path / "weights.npz"), tmp_path / "report", n_prompts=400)
    assert report.failed == {} and set(report.results) == set(ANALYSES) - {"learned-features"}
    matching, curvature = report.results["matching"], report.results["curvature"]
    assert isinstance(matching, Matching) and matching.verdict == "2 steps of GD++"
    assert isinstance(curvature, Curvature) and curvature.verdict == "curvature correction in layer 1"
