"""Readouts against scikit-learn's Ridge, as numbers, not as time."""

import torch
from row import Row
from sklearn.linear_model import Ridge as SklearnRidge

from mesascope.probes import LinearReadout

N_ROWS, D_MODEL, D_Y = 20_000, 48, 3


def readout_rows() -> list[Row]:
    """Coefficients at condition 1e3, predictions where the coefficients are not determined."""
    return [_coefficients_row(), _rank_deficient_row()]


def _coefficients_row() -> Row:
    rng = torch.Generator().manual_seed(0)
    z = torch.randn(N_ROWS, D_MODEL, generator=rng, dtype=torch.float64)
    basis, _ = torch.linalg.qr(torch.randn(D_MODEL, D_MODEL, generator=rng, dtype=torch.float64))
    resid = 3 + z * torch.logspace(0, -3, D_MODEL, dtype=torch.float64) @ basis.T
    y = resid @ torch.randn(D_MODEL, D_Y, generator=rng, dtype=torch.float64) + 0.1 * z[:, :D_Y]
    readout, reference = _fit_both(resid, y)
    theirs = torch.as_tensor(reference.coef_.T)
    error = ((readout.coef_ - theirs).abs().max() / theirs.abs().max()).item()
    notes = (
        f"features with condition 1e3, {N_ROWS:,} float64 rows of {D_MODEL}; scikit-learn by SVD, no normal equations"
    )
    return Row("coefficients / scikit-learn's Ridge", "–", "–", f"{error:.1e}", "≤ 1e-8", error <= 1e-8, notes)


def _rank_deficient_row() -> Row:
    rng = torch.Generator().manual_seed(1)
    inside = torch.randn(N_ROWS, 5, generator=rng)
    resid = inside @ torch.randn(5, D_MODEL, generator=rng)
    y = inside.double() @ torch.randn(5, D_Y, generator=rng, dtype=torch.float64)
    y = y / y.std(0) + 0.1 * torch.randn(N_ROWS, D_Y, generator=rng, dtype=torch.float64)
    readout, reference = _fit_both(resid, y)
    error = (readout.predict(resid) - torch.as_tensor(reference.predict(resid.double().numpy()))).abs().max().item()
    notes = f"float32 residuals of rank 5 in {D_MODEL}, targets of unit scale; scikit-learn in float64 by SVD"
    return Row(
        "predictions / scikit-learn's Ridge, rank deficient", "–", "–", f"{error:.1e}", "≤ 1e-4", error <= 1e-4, notes
    )


def _fit_both(resid: torch.Tensor, y: torch.Tensor) -> tuple[LinearReadout, SklearnRidge]:
    """Both with the same penalty; ours is relative to tr(S)/d_model, theirs absolute."""
    readout = LinearReadout().fit(resid, y)
    penalty = readout.alpha * readout.moments_.S_hh.trace().item() / D_MODEL
    return readout, SklearnRidge(alpha=penalty, solver="svd").fit(resid.double().numpy(), y.numpy())
