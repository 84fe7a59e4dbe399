"""The figures of a similarity: scores with floors, heat maps over steps, matching steps by layer, convergence."""

from typing import TYPE_CHECKING

from mesascope.analyses.claim import Figure
from mesascope.analyses.similarity.convergence_figures import draw_convergence
from mesascope.analyses.similarity.score_figures import draw_ceiling, draw_families, draw_layers, draw_prefixes
from mesascope.analyses.similarity.step_figures import draw_heat, draw_steps

if TYPE_CHECKING:
    from mesascope.analyses.similarity.similarity import Similarity


def draw(result: "Similarity") -> tuple[Figure, ...]:
    """Every figure, those by errors first."""
    figures: list[Figure] = []
    for found in result.comparisons:
        figures.append(draw_families(found, result.prefixes, result.empty_prefix))
        for draw_part in (draw_ceiling, draw_layers, draw_heat, draw_steps):
            figures += draw_part(found)
    if result.weights is not None:
        figures += draw_prefixes(result.weights, result.prefixes)
    return (*figures, *draw_convergence(result.convergence, result.errors.courses))
