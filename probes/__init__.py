"""The instruments: they take tensors or a hooked model, and know no analysis."""

from mesascope.probes.ablation import CleanRun, Knockout, attention_layers, run_from
from mesascope.probes.alignment import align, layer_maps, outer_vectors
from mesascope.probes.attention_scores import (
    as_shares,
    copy_sums,
    correlation,
    discrete_sums,
    query_sums,
    similarities,
)
from mesascope.probes.capturing import Captured, capture
from mesascope.probes.composition import Composition, TokenCircuits, compose, copying_scores, token_circuits
from mesascope.probes.derivatives import CopyDerivatives, copy_derivatives, token_derivatives
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
    cosine_interval,
    jackknife_ratio,
    jackknifed,
    prediction_interval,
    share_explained,
    share_interval,
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
from mesascope.probes.token_roles import TokenRoles

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
    "CleanRun",
    "Component",
    "Composition",
    "CopyDerivatives",
    "Estimate",
    "Exponent",
    "Features",
    "InducedOperators",
    "InducedWeights",
    "Knockout",
    "LinearReadout",
    "Moments",
    "PatternInterchange",
    "Products",
    "Response",
    "Site",
    "Slopes",
    "Spectrum",
    "SplineFilter",
    "TokenCircuits",
    "TokenRoles",
    "antipodal_queries",
    "as_shares",
    "attention_layers",
    "block_sums",
    "capture",
    "choose_alpha",
    "choose_filter",
    "component_means",
    "components_of",
    "compose",
    "copy_derivatives",
    "copy_sums",
    "copying_scores",
    "correlation",
    "cosine_interval",
    "direct_effects",
    "discrete_sums",
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
    "query_sums",
    "run_from",
    "share_explained",
    "share_interval",
    "share_of_prompts",
    "similarities",
    "similarity_of_errors",
    "token_circuits",
    "token_derivatives",
    "weights_by_jacobian",
    "weights_by_queries",
]
