"""The instruments: they take tensors or a hooked model, and know no analysis."""

from mesascope.probes.capturing import Captured, capture
from mesascope.probes.jackknife import Estimate, block_sums, jackknife_ratio, prediction_interval
from mesascope.probes.moments import Moments
from mesascope.probes.readout import LinearReadout, choose_alpha
from mesascope.probes.similarity import similarity_of_errors

__all__ = [
    "Captured",
    "Estimate",
    "LinearReadout",
    "Moments",
    "block_sums",
    "capture",
    "choose_alpha",
    "jackknife_ratio",
    "prediction_interval",
    "similarity_of_errors",
]
