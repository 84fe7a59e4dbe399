"""Weights that provably run a learner; a new construction is one file with a function that returns a model."""

from mesascope.models.constructions.descent import gd_plus_plus, gradient_descent
from mesascope.models.constructions.descent_on_weights import descend_on_weights
from mesascope.models.constructions.gauge import regauge
from mesascope.models.constructions.induction_heads import induction
from mesascope.models.constructions.neighbour_copy import copy_then_descend
from mesascope.models.constructions.newton_schulz import newton
from mesascope.models.constructions.preconditioned import optimal_preconditioned_step, preconditioned_gradient_descent

__all__ = [
    "copy_then_descend",
    "descend_on_weights",
    "gd_plus_plus",
    "gradient_descent",
    "induction",
    "newton",
    "optimal_preconditioned_step",
    "preconditioned_gradient_descent",
    "regauge",
]
