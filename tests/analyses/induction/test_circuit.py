import pytest

from mesascope.analyses.induction.circuit import CIRCUIT, NO_CIRCUIT, QUERY_ONLY, find_circuit
from mesascope.analyses.induction.verdict import UNDETERMINED
from mesascope.probes import Estimate
from mesascope.probes.ablation import Knockout
from tests.analyses.induction.readings import effect, losses, path

COPIER, OTHER, ASKER, LATE = (0, 0), (0, 1), (1, 0), (2, 1)
ASKERS = (ASKER, LATE)
BOTH = path([COPIER], ASKERS, 20.0)


def circuit(found, copies=None, queries=None):
    """Of one copy head and two query heads, unless others are given."""
    queries = {COPIER: False, ASKER: True, LATE: True} if queries is None else queries
    return find_circuit({COPIER: True, ASKER: False, LATE: False} if copies is None else copies, queries, found)


def fed(one, other):
    return losses(BOTH, path([COPIER], [ASKER], one), path([COPIER], [LATE], other))


def test_a_circuit_is_a_copy_head_that_query_heads_read():
    found = circuit(fed(5.0, 1.0))
    assert found.verdict == f"{CIRCUIT}: copy head L1H0 feeds query head L2H0"
    assert (found.copies, found.fed) == (("L1H0",), ("L2H0",)) and "cannot" not in found.why


def test_a_head_whose_own_paths_are_sure_to_cost_something_but_not_enough_is_not_named():
    assert circuit(fed(5.0, Estimate(1.3, 1.2, 1.4))).fed == ("L2H0",)


def test_a_head_whose_paths_straddle_is_not_named_but_said():
    found = circuit(fed(5.0, Estimate(1.6, 1.2, 2.0)))
    assert found.fed == ("L2H0",) and found.why.endswith("; of head L3H1 it cannot be said")


def test_copy_heads_are_named_by_what_all_query_heads_read_of_them():
    joint = path([COPIER, OTHER], [ASKER], 20.0)
    found = circuit(
        losses(joint, path([COPIER], [ASKER], 5.0), path([OTHER], [ASKER], 1.0)),
        copies={COPIER: True, OTHER: True},
        queries={ASKER: True},
    )
    assert found.verdict == f"{CIRCUIT}: copy head L1H0 feeds query head L2H0"


THREE = {ASKER: True, LATE: True, (2, 2): True}


def remaining(*costs):
    """Each of three by itself costs nothing, all together 20, and all but one so much."""
    singles = [path([COPIER], [head], 1.0) for head in THREE]
    rests = [
        path([COPIER], [other for other in THREE if other != head], cost, what="remaining paths")
        for head, cost in zip(THREE, costs, strict=True)
    ]
    return losses(path([COPIER], THREE, 20.0), *singles, *rests)


def test_where_only_all_paths_together_matter_those_are_named_that_the_joint_cut_needs():
    found = circuit(remaining(2.0, 20.0, 3.0), queries=THREE)
    assert found.verdict == f"{CIRCUIT}: copy head L1H0 feeds query heads L2H0, L3H2, together"
    assert "the paths of no query head matter by themselves" in found.why


def test_where_no_head_is_needed_for_the_joint_cut_nobody_is_named():
    found = circuit(remaining(20.0, 20.0, 20.0), queries=THREE)
    assert found.verdict == UNDETERMINED and "which heads" in found.why


@pytest.mark.parametrize(
    "found, given, verdict, word",
    [
        (None, {}, UNDETERMINED, "left out"),
        (losses(BOTH, learned=1.2), {}, NO_CIRCUIT, "predicting zero"),
        (losses(BOTH, learned=0.75), {}, UNDETERMINED, "predicting zero"),
        (losses(), dict(queries={ASKER: False}), NO_CIRCUIT, "no query head"),
        (losses(), dict(copies={COPIER: False}), NO_CIRCUIT, "no copy head"),
        (losses(learned=0.75), dict(copies={COPIER: False}), NO_CIRCUIT, "no copy head"),
        (losses(), dict(copies={COPIER: None}), UNDETERMINED, "no copy head for certain"),
        (losses(), dict(queries={ASKER: None}), UNDETERMINED, "no query head for certain"),
        # One side is missing for certain, whatever the other is.
        (losses(), dict(copies={COPIER: None}, queries={ASKER: False}), NO_CIRCUIT, "there is no query head"),
        (losses(), dict(copies={LATE: True}, queries={ASKER: True}), NO_CIRCUIT, "comes after"),
        (
            losses(),
            dict(copies={LATE: True, COPIER: None}, queries={ASKER: True}),
            UNDETERMINED,
            "after a copy head for",
        ),
    ],
)
def test_what_is_missing_is_said(found, given, verdict, word):
    got = circuit(found, **given)
    assert got.verdict == verdict and word in got.why


@pytest.mark.parametrize(
    "factor, more, verdict, word",
    [
        (1.1, False, NO_CIRCUIT, "1.1"),
        (1.1, None, UNDETERMINED, "other heads"),  # which may do what this one does not
        (Estimate(2.0, 1.0, 4.0), False, UNDETERMINED, "read of copy heads"),
        (5.0, None, f"{CIRCUIT}: copy head L1H0 feeds query head L2H0", "5"),
    ],
)
def test_a_circuit_is_what_the_loss_needs(factor, more, verdict, word):
    found = circuit(losses(path([COPIER], [ASKER], factor)), queries={ASKER: True, LATE: more})
    assert found.verdict == verdict and word in found.why


@pytest.mark.parametrize(
    "factor, more, verdict",
    [
        (2.0, False, QUERY_ONLY),
        (2.0, None, QUERY_ONLY),
        (1.1, False, NO_CIRCUIT),
        (1.1, None, UNDETERMINED),
        (Estimate(1.6, 1.2, 2.2), False, UNDETERMINED),
    ],
)
def test_where_tokens_hold_both_query_heads_are_enough_if_the_loss_needs_them(factor, more, verdict):
    found = losses(effect(Knockout((ASKER,)), "query heads", factor))
    assert find_circuit(None, {ASKER: True, LATE: more}, found).verdict == verdict
