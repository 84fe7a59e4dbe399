import pytest

from mesascope.analyses.induction.circuit import CIRCUIT, NO_CIRCUIT, QUERY_ONLY, find_circuit
from mesascope.analyses.induction.paths import named_knockouts, path_knockouts, remaining_knockouts
from mesascope.analyses.induction.verdict import UNDETERMINED
from mesascope.probes import Estimate
from mesascope.probes.ablation import Knockout
from tests.analyses.induction.readings import effect, head, losses, path

COPIER, OTHER, ASKER, LATE = (0, 0), (0, 1), (1, 0), (2, 1)
ASKERS = (ASKER, LATE)
BOTH = path([COPIER], ASKERS, 20.0)


def circuit(found, copies=None, queries=None):
    """Of one copy head and two query heads, unless others are given."""
    queries = {COPIER: False, ASKER: True, LATE: True} if queries is None else queries
    return find_circuit({COPIER: True, ASKER: False, LATE: False} if copies is None else copies, queries, found)


def fed(one, other):
    """All that there is to lose hangs on the first of two query heads."""
    return losses(path([COPIER], ASKERS, one), path([COPIER], [ASKER], one), path([COPIER], [LATE], other))


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
    joint = path([COPIER, OTHER], [ASKER], 5.0)
    found = circuit(
        losses(joint, path([COPIER], [ASKER], 5.0), path([OTHER], [ASKER], 1.0)),
        copies={COPIER: True, OTHER: True},
        queries={ASKER: True},
    )
    assert found.verdict == f"{CIRCUIT}: copy head L1H0 feeds query head L2H0"


THREE = {ASKER: True, LATE: True, (2, 2): True}


def searched(copies, queries, cost):
    """The circuit of a model whose loss is made up, for any cut; by which pairs are cut."""

    def scored(asked):
        return losses(
            *(
                effect(cut, what, cost({(w, r) for w in cut.heads for r in cut.readers if w[0] < r[0]}))
                for cut, what in asked
            )
        )

    found = scored(path_knockouts([head(*one) for one in copies], [head(*one) for one in queries], losses()))
    for which in (remaining_knockouts, named_knockouts):
        found = scored(which(found)).joined(found)
    return find_circuit(dict.fromkeys(copies, True), dict.fromkeys(queries, True), found)


def several(first, *others, enough):
    """The first query head costs so much by itself; the others 50, but only if at least so many are cut at once."""

    def cost(cut):
        readers = {reader for _, reader in cut}
        return 50.0 if len(readers & set(others)) >= enough else first if ASKER in readers else 1.2

    return searched([COPIER], [ASKER, *others], cost)


def test_twelve_query_heads_with_equal_parts_in_the_work_are_all_named():
    askers = [(1, place) for place in range(12)]
    found = searched([COPIER], askers, lambda cut: 1 + 49 * (len(cut) / 12) ** 2)
    assert len(found.fed) == 12 and found.verdict.endswith(", together")
    assert "loss is 50 " in found.why and "L2H10, L2H11 matter beside others' only" in found.why


def test_those_are_named_that_the_joint_cut_needs_also_beside_a_head_that_costs_something_by_itself():
    found = several(1.6, LATE, (2, 2), enough=2)
    assert found.verdict == f"{CIRCUIT}: copy head L1H0 feeds query heads L2H0, L3H1, L3H2, together"
    assert found.why.endswith("the paths of heads L3H1, L3H2 matter beside others' only")
    assert several(1.2, LATE, (2, 2), enough=2).fed == ("L3H1", "L3H2")


def test_nobody_is_named_where_most_hangs_on_heads_that_none_can_be_said_of():
    found = several(1.6, LATE, (2, 2), (2, 3), enough=2)
    assert found.verdict == UNDETERMINED and not found.fed
    assert "without what head L2H0 reads of head L1H0 1.6 [" in found.why and "which heads the rest" in found.why
    assert several(1.2, LATE, (2, 2), (2, 3), enough=2).why.endswith("which heads that hangs on")


def test_only_heads_with_a_named_one_to_read_or_to_be_read_by_are_named():
    late, last = (2, 0), [(3, 0), (3, 1), (3, 2)]

    def found(n_last):
        def cost(cut):
            first = 20.0 if (COPIER, ASKER) in cut else 1.0
            return first * (5.0 if sum(copy == late for copy, _ in cut) >= 2 else 1.0)

        return searched([COPIER, late], [ASKER, *last[:n_last]], cost).verdict

    assert found(2) == f"{CIRCUIT}: copy heads L1H0, L3H0 feed query heads L2H0, L4H0, L4H1, together"
    assert found(3) == UNDETERMINED  # the second copy head is needed, by query heads of which none can be named


@pytest.mark.parametrize("gain, named", [(1.0005, ()), (1.05, ()), (1.5, ("L2H0", "L3H1"))])
def test_a_head_is_needed_beside_others_only_if_the_joint_cut_costs_a_tenth_more_with_its_paths(gain, named):
    readers = [ASKER, LATE, (2, 2)]

    def cost(cut):
        needed = {reader for _, reader in cut} & {ASKER, LATE}
        return {0: 1.0, 1: 2.0 / gain, 2: 2.0}[len(needed)] if len(cut) > 1 else 1.0

    assert searched([COPIER], readers, cost).fed == named


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
