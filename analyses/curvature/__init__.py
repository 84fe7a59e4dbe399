"""Curvature correction: do layers transform their tokens' x as GD++ does?"""

from mesascope.analyses.curvature.curvature import Curvature, detect_curvature

__all__ = ["Curvature", "detect_curvature"]
