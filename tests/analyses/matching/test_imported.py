"""Matrices of published code, through the whole of a matching."""

from typing import Any

import numpy as np
import pytest
import torch

from mesascope.analyses import attach
from mesascope.analyses.matching import match_weights
from mesascope.models import gd_plus_plus, regauge

from .whole_models import N_POINTS, best


@pytest.mark.parametrize("seed", range(2))
def test_imported_factors_give_their_scalars(tmp_path, seed):
    model = regauge(gd_plus_plus(4, N_POINTS, [0.3, 0.2], [0.1, 0.4]), seed)
    arrays: dict[str, Any] = {
        name: torch.stack([getattr(attention, at) for attention in model.attentions]).detach().numpy()
        for name, at in (("W_Q", "W_Q"), ("W_K", "W_K"), ("W_V", "W_V"), ("P", "W_O"))
    }
    np.savez(tmp_path / "weights.npz", convention="rows", n_points=N_POINTS, **arrays)
    found = match_weights(attach(tmp_path / "weights.npz"))
    assert found.verdict == "2 steps of GD++"
    first, last = (best(layer) for layer in found.layers)
    assert first.scalars["η"].value == pytest.approx(0.3, rel=1e-6)
    assert first.scalars["γ"].value == pytest.approx(0.1, rel=1e-6)
    assert last.scalars["η"].value == pytest.approx(0.2, rel=1e-6)


def test_imported_products_on_columns_give_their_preconditioner(tmp_path):
    n, KQ, PV = N_POINTS - 1, np.zeros((5, 5)), np.zeros((5, 5))
    B = np.array([[0.5, 0.1, 0, 0], [0, 0.3, 0, 0.2], [0, 0, 0.4, 0], [0.1, 0, 0, 0.2]])
    KQ[:4, :4], PV[4, 4] = B, -1 / n  # h_jᵀ W_KQ h: key before query
    np.savez(tmp_path / "weights.npz", W_KQ=KQ, W_PV=PV, n_points=N_POINTS, damping=0.5)
    found = match_weights(attach(tmp_path / "weights.npz"))
    assert found.verdict == "1 step of preconditioned GD"
    expected = torch.from_numpy(0.5 * B.T)  # a query's row times A against a key's
    torch.testing.assert_close(best(found.layers[0]).preconditioner[:, :4], expected, rtol=1e-5, atol=1e-6)


def test_imported_matrices_of_ahn_et_al_give_their_step(tmp_path):
    """Their P stands beside y's 1, and N divides: one step of η = 1 with A = −Q and x-updates −P."""
    allparam = np.zeros((2, 1, 2, 4, 4))
    allparam[:, 0, 1] = -0.7 * np.eye(4)
    allparam[0, 0, 0] = 0.2 * np.eye(4)
    np.savez(tmp_path / "weights.npz", allparam=allparam, n_points=N_POINTS)
    found = match_weights(attach(tmp_path / "weights.npz"))
    assert found.verdict == "2 steps of GD++"
    first = best(found.layers[0])
    assert first.scalars["η"].value == pytest.approx(0.7, rel=1e-6)
    assert first.scalars["γ"].value == pytest.approx(0.2 * 0.7, rel=1e-6)
