import json

import pytest

from mesascope.analyses.induction.selftest import (
    CircuitCase,
    CircuitTest,
    count_circuits,
    run_circuit_test,
)

WANTED = "induction circuit: copy head L1H0 feeds query head L2H0"


def case(verdict, expected=None, copy=0.4, query=0.4):
    return CircuitCase("kind", expected, verdict, copy, query)


@pytest.mark.parametrize(
    "made, right",
    [
        (case(WANTED, WANTED), True),
        (case("undetermined", WANTED), False),
        (case("induction circuit: copy head L2H0 feeds query head L2H1", WANTED), False),
        (case("no circuit"), True),
        (case("undetermined"), True),
        (case("no circuit", copy=0.9), False),
        (case("no circuit", query=0.6), False),
        (case(WANTED), False),
        (case("query heads only (tokens hold x and y)"), False),
    ],
)
def test_a_planted_circuit_must_be_named_head_by_head_and_chance_not_at_all(made, right):
    found = CircuitTest((made, case("no circuit")), 3)
    assert made.right is right and found.by_kind == {"kind": (1 + right, 2)}
    assert len(found.failures) == (not right) and json.loads(json.dumps(found.data()))["seed"] == 3


@pytest.mark.slow
def test_planted_circuits_are_found():
    said: list[str] = []
    found = run_circuit_test(3, 1, n_untrained=0, on_case=said.append)
    assert found.failures == () and [one.kind for one in found.cases] == said
    assert len(said) == count_circuits(1, n_untrained=0) == 3


@pytest.mark.slow
def test_untrained_models_have_no_circuit():
    found = run_circuit_test(3, 0, n_untrained=1)
    assert found.failures == () and len(found.cases) == 3
    assert all("untrained" in one.kind and one.verdict == "no circuit" for one in found.cases)


def test_the_cases_are_counted_before_they_run():
    assert count_circuits(40) == 40 * 3 + 20 * 3 and count_circuits(4, n_untrained=0) == 12
