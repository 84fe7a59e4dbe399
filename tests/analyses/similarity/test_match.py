import pytest

from mesascope.analyses.similarity import Match
from mesascope.models import Ridge
from mesascope.probes import Estimate

HIGH = Estimate(0.9, 0.88, 0.92)


@pytest.mark.parametrize(
    "lead, twins, verdict, floor",
    [
        (Estimate(0.4, 0.3, 0.5), None, "above its floor", 0.5),
        (Estimate(0.4, 0.3, 0.5), Estimate(0.6, 0.5, 0.7), "above its floor", 0.7),
        (Estimate(0.4, 0.3, 0.5), Estimate(0.6, 0.3, 0.9), "undetermined", 0.9),
        (Estimate(0.4, 0.3, 0.5), Estimate(0.8, 0.6, 0.99), "undetermined", 0.99),
        (Estimate(0.4, 0.3, 0.5), Estimate(0.95, 0.9, 0.99), "no more than its floor", 0.99),
        (Estimate(0.0, 0.0, 0.0), None, "no more than its floor", 0.5),
        (Estimate(-0.1, -0.2, -0.05), Estimate(0.6, 0.5, 0.7), "no more than its floor", 0.7),
        (Estimate(0.1, -0.1, 0.3), Estimate(0.6, 0.5, 0.7), "undetermined", 0.7),
    ],
)
def test_verdicts_ask_whether_every_floor_is_cleared(lead, twins, verdict, floor):
    match = Match("ridge", Ridge(1.0), HIGH, zero=0.5, shuffled=0.1, lead=lead, untrained=twins)
    assert match.verdict == verdict and match.floor == floor


def test_the_lead_is_over_the_higher_floor_prompt_by_prompt(newton_3):
    for found in newton_3.comparisons:
        for match in found.output.matches:
            assert match.lead.value == pytest.approx(match.similarity.value - match.floor, abs=1e-12)
            assert match.lead.low <= match.lead.value <= match.lead.high
