import pytest

from mesascope.analyses import attach, registry
from mesascope.analyses.registry import ANALYSES
from mesascope.models import LeastSquares

RUN = (
    "measure_performance",
    "fit_readouts",
    "identify",
    "measure_response",
    "measure_similarity",
    "match_weights",
    "detect_curvature",
    "check_construction",
    "compare_on_features",
    "find_induction",
    "trace_causes",
)
"""What the analyses call."""


@pytest.fixture
def handed(monkeypatch):
    """What an analysis hands to the function that it calls, by name."""
    seen: dict[str, object] = {}
    for name in RUN:
        monkeypatch.setattr(registry, name, lambda *args, **named: seen.update(named, called=True))
    return seen


@pytest.mark.parametrize("name", ANALYSES)
def test_prompts_reach_every_analysis_that_fits_readouts_and_no_other(name, handed):
    ANALYSES[name].run(attach(LeastSquares()), 1_234)
    assert handed.pop("called")
    assert (1_234 in handed.values()) == ANALYSES[name].fits_readouts


@pytest.mark.parametrize("n, used", [(40, 160), (500, 500), (20_000, 2_000)])
def test_causality_takes_as_many_prompts_as_it_can_use(n, used, handed):
    ANALYSES["causality"].run(attach(LeastSquares()), n)
    assert handed["n_prompts"] == used
