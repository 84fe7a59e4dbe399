import json

import pytest

from mesascope.analyses.induction.verdict import (
    CIRCUIT,
    COPY,
    COPY_LIKE,
    NEITHER,
    NO_CIRCUIT,
    PARTIAL,
    QUERY,
    QUERY_ONLY,
    UNDETERMINED,
    copy_verdict,
    find_circuit,
    is_decisive,
    query_verdict,
)
from mesascope.probes import Estimate
from mesascope.probes.ablation import Knockout
from tests.analyses.induction.readings import AWAY, NULLS, copying, effect, head, losses, path, sure, without

PLACE = (0, 0)


def copies(one, found, union=None, null=0.1):
    return copy_verdict(head(copy=one), found, union, null, AWAY)


@pytest.mark.parametrize(
    "score, factor, verdict",
    [
        (copying(0.9), 50.0, COPY),
        (copying(0.9), 5.0, COPY_LIKE),  # it copies, and nobody needs it
        (copying(0.6), 50.0, NEITHER),
        (copying(0.9, raw=0.3), 50.0, NEITHER),  # nearly all of its attention is on itself
        (copying(0.8, half=0.05), 50.0, UNDETERMINED),
        (copying(0.9), Estimate(12.0, 8.0, 20.0), UNDETERMINED),
    ],
)
def test_a_copy_head_has_the_score_and_decides_the_loss(score, factor, verdict):
    assert copies(score, losses(without(PLACE, factor))) == verdict


def test_a_copy_head_beats_untrained_heads():
    assert copies(copying(0.9), losses(without(PLACE, 50.0)), null=0.95) == NEITHER


def test_without_ablations_a_head_is_copy_like_at_most():
    assert copies(copying(0.9), None) == COPY_LIKE and copies(copying(0.3), None) == NEITHER


def test_where_tokens_hold_both_nobody_copies():
    assert copies(None, losses()) == NEITHER


def test_heads_of_a_layer_may_share_the_points():
    half = copying(0.5, by_point=[1.0] * 5 + [0.0] * 5)
    found = losses(without(PLACE, 50.0))
    assert copies(half, found, union=sure(0.95)) == PARTIAL
    assert copies(half, losses(without(PLACE, 2.0)), union=sure(0.95)) == COPY_LIKE
    assert copies(half, found, union=sure(0.6)) == NEITHER
    rare = copying(0.1, by_point=[1.0] + [0.0] * 9)
    assert copies(rare, found, union=sure(0.95)) == NEITHER


@pytest.mark.parametrize(
    "factor, lost, decisive",
    [
        (50.0, 0.5, True),
        (2.0, 1.0, True),  # one gradient step has no factor of ten to lose, but all that it has
        (2.0, 0.6, False),
        (1.1, 1.0, False),  # a model that gained nothing has nothing to lose
        (2.0, 0.67, None),
        (Estimate(10.0, 8.0, 12.0), 0.5, None),
    ],
)
def test_what_decides_the_loss_is_a_factor_of_ten_or_all_that_there_was(factor, lost, decisive):
    assert is_decisive(without(PLACE, factor, lost)) is decisive


@pytest.mark.parametrize(
    "given, verdict",
    [
        (dict(query=0.7), QUERY),
        (dict(query=-0.7), QUERY),  # heads come in pairs of either sign
        (dict(query=0.3), NEITHER),
        (dict(query=0.7, label=0.4), NEITHER),  # it follows y_j
        (dict(query=0.5, half=0.1), UNDETERMINED),
        (dict(query=0.7, label=0.195), UNDETERMINED),
    ],
)
def test_a_query_head_follows_the_inner_product_and_not_the_label(given, verdict):
    assert query_verdict(head(**given), NULLS) == verdict


def test_what_untrained_heads_do_too_proves_nothing():
    from dataclasses import replace

    nulls = replace(NULLS, query={"y": (0.8,)})
    assert query_verdict(head(query=0.7), nulls) == UNDETERMINED
    assert nulls.for_query("y") == 0.8 and nulls.for_copy == 0.1 and json.dumps(nulls.data())


COPIER, ASKER, LATE = head(0, 0, copy=0.9), head(1, 0, query=0.7), head(2, 1, query=0.7)
JOINT, ALONE = path([(0, 0)], [(1, 0), (2, 1)], 20.0), path([(0, 0)], [(1, 0)], 5.0)


def circuit(found, copiers=(COPIER,), askers=(ASKER, LATE), together=False, unsure=False):
    return find_circuit(together, copiers, askers, found, unsure)


def test_a_circuit_is_a_copy_head_that_query_heads_read():
    nothing = path([(0, 0)], [(2, 1)], 1.0)
    found = circuit(losses(JOINT, ALONE, nothing))
    assert found.verdict == f"{CIRCUIT}: copy head L1H0 feeds query head L2H0"
    assert (found.copies, found.fed) == (("L1H0",), ("L2H0",))


def test_where_only_all_paths_together_matter_all_are_named():
    found = circuit(losses(JOINT, path([(0, 0)], [(1, 0)], 1.0), path([(0, 0)], [(2, 1)], 1.0)))
    assert found.verdict == f"{CIRCUIT}: copy head L1H0 feeds query heads L2H0, L3H1"


@pytest.mark.parametrize(
    "found, given, verdict, word",
    [
        (None, {}, UNDETERMINED, "left out"),
        (losses(JOINT, learned=1.2), {}, NO_CIRCUIT, "predicting zero"),
        (losses(JOINT, learned=0.75), {}, UNDETERMINED, "predicting zero"),
        (losses(), dict(askers=()), NO_CIRCUIT, "no query head"),
        (losses(), dict(copiers=()), NO_CIRCUIT, "no copy head"),
        (losses(), dict(copiers=(), unsure=True), UNDETERMINED, "for certain"),
        (losses(), {}, NO_CIRCUIT, "comes after"),
        (losses(path([(0, 0)], [(1, 0)], 1.1)), {}, NO_CIRCUIT, "1.1"),
        (losses(path([(0, 0)], [(1, 0)], Estimate(2.0, 1.0, 4.0))), {}, UNDETERMINED, "read of copy heads"),
    ],
)
def test_what_is_missing_is_said(found, given, verdict, word):
    got = circuit(found, **given)
    assert got.verdict == verdict and word in got.why


@pytest.mark.parametrize(
    "factor, verdict",
    [(2.0, QUERY_ONLY), (1.1, NO_CIRCUIT), (Estimate(1.6, 1.2, 2.2), UNDETERMINED)],
)
def test_where_tokens_hold_both_query_heads_are_enough_if_the_loss_needs_them(factor, verdict):
    found = losses(effect(Knockout(((1, 0),)), "query heads", factor))
    assert circuit(found, copiers=(), together=True).verdict == verdict
