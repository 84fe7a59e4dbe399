"""Which fraction of w does each layer recover along an eigenvector of S?"""

from mesascope.analyses.spectral.spectral import SpectralResponse, measure_response

__all__ = ["SpectralResponse", "measure_response"]
