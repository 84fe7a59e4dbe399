"""The instruments: they take tensors or a hooked model, and know no analysis."""

from mesascope.probes.ablation import run_from
from mesascope.probes.alignment import align, layer_maps, outer_vectors
from mesascope.probes.capturing import Captured, capture
from mesascope.probes.direct_effects import (
    Component,
    component_means,
    components_of,
    direct_effects,
    mean_ablation,
)
from mesascope.probes.exponents import Exponent, fit_exponents
from mesascope.probes.induced import (
    InducedOperators,
    InducedWeights,
    antipodal_queries,
    induced_operators,
    layer_predictor,
    linearity_in_y,
    weights_by_jacobian,
    weights_by_queries,
)
from mesascope.probes.interchange import Features, PatternInterchange, Site
from mesascope.probes.jackknife import (
    Estimate,
    block_sums,
    jackknife_ratio,
    jackknifed,
    prediction_interval,
    share_explained,
    share_of_prompts,
)
from mesascope.probes.moments import Moments
from mesascope.probes.operators import HeadOperator, LayerOperator
from mesascope.probes.products import Products, distances, mixing
from mesascope.probes.readout import LinearReadout, choose_alpha
from mesascope.probes.response import Response, fit_responses
from mesascope.probes.similarity import similarity_of_errors
from mesascope.probes.slopes import Slopes
from mesascope.probes.spectrum import Spectrum
from mesascope.probes.spline_filter import SplineFilter, choose_filter
from mesascope.probes.token_basis import Slots, TokenBasis, reachable, token_basis

__all__ = [
    "align",
    "layer_maps",
    "outer_vectors",
    "reachable",
    "token_basis",
    "TokenBasis",
    "Slots",
    "LayerOperator",
    "HeadOperator",
    "Captured",
    "Component",
    "Estimate",
    "Exponent",
    "Features",
    "InducedOperators",
    "InducedWeights",
    "LinearReadout",
    "Moments",
    "PatternInterchange",
    "Products",
    "Response",
    "Site",
    "Slopes",
    "Spectrum",
    "SplineFilter",
    "antipodal_queries",
    "block_sums",
    "capture",
    "choose_alpha",
    "choose_filter",
    "component_means",
    "components_of",
    "direct_effects",
    "distances",
    "fit_exponents",
    "fit_responses",
    "induced_operators",
    "jackknife_ratio",
    "jackknifed",
    "layer_predictor",
    "linearity_in_y",
    "mean_ablation",
    "mixing",
    "prediction_interval",
    "run_from",
    "share_explained",
    "share_of_prompts",
    "similarity_of_errors",
    "weights_by_jacobian",
    "weights_by_queries",
]
