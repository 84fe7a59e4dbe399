import json
from dataclasses import replace

import pytest

from mesascope.analyses.induction.verdict import (
    COPY,
    COPY_LIKE,
    NEITHER,
    NO_COPY,
    PARTIAL,
    QUERY,
    UNDETERMINED,
    is_decisive,
    judge_copies,
    judge_query,
    query_verdict,
)
from mesascope.probes import Estimate
from tests.analyses.induction.readings import NULLS, copying, head, losses, sure, without

PLACE = (0, 0)


def judged(one, found, union=None, nulls=NULLS, others=(), raw=0.9):
    layer = [head(copy=one), *others]
    return judge_copies(layer, union and (union, sure(raw)), found, nulls)[layer[0].label]


def copies(*args, **given):
    return judged(*args, **given).verdict


@pytest.mark.parametrize(
    "score, factor, verdict",
    [
        (copying(0.9), 50.0, COPY),
        (copying(0.9), 5.0, COPY_LIKE),  # it copies, and nobody needs it
        (copying(0.6), 50.0, NEITHER),
        (copying(0.9, raw=0.3), 50.0, NEITHER),  # nearly all of its attention is on itself
        (copying(0.9), Estimate(12.0, 8.0, 20.0), UNDETERMINED),
    ],
)
def test_a_copy_head_has_the_score_and_decides_the_loss(score, factor, verdict):
    assert copies(score, losses(without(PLACE, factor))) == verdict


@pytest.mark.parametrize(
    "score",
    [
        copying(0.8, half=0.05),
        copying(0.9, raw=0.5),  # the interval of the raw share straddles
        copying(0.9, raw=0.5, half=0.05),
    ],
)
@pytest.mark.parametrize(
    "factor, verdict, answer",
    [(50.0, UNDETERMINED, None), (Estimate(12.0, 8.0, 20.0), UNDETERMINED, None), (1.0, NO_COPY, False)],
)
def test_a_score_that_straddles_is_undetermined_and_no_copy_head_where_the_loss_needs_none(
    score, factor, verdict, answer
):
    found = judged(score, losses(without(PLACE, factor)))
    assert found.verdict == verdict and found.answer is answer


def test_what_untrained_heads_copy_too_proves_nothing():
    nulls = replace(NULLS, copy=(0.95,))
    assert copies(copying(0.9), losses(without(PLACE, 50.0)), nulls=nulls) == UNDETERMINED
    assert copies(copying(0.6), losses(without(PLACE, 50.0)), nulls=nulls) == NEITHER


def test_without_ablations_a_head_is_copy_like_at_most():
    assert copies(copying(0.9), None) == COPY_LIKE and copies(copying(0.3), None) == NEITHER
    assert copies(copying(0.8), None) == UNDETERMINED
    assert judged(copying(0.9), None).answer is None


def test_where_tokens_hold_both_nobody_copies():
    found = judged(None, losses())
    assert found.verdict == NEITHER and found.answer is False


HALF = copying(0.5, covered=0.5)
NEEDED = losses(without(PLACE, 50.0))


@pytest.mark.parametrize(
    "one, found, union, verdict",
    [
        (HALF, NEEDED, sure(0.95), PARTIAL),
        (HALF, losses(without(PLACE, 1.2)), sure(0.95), COPY_LIKE),
        (HALF, losses(without(PLACE, Estimate(12.0, 8.0, 20.0))), sure(0.95), UNDETERMINED),
        (HALF, NEEDED, sure(0.6), NEITHER),
        (HALF, NEEDED, sure(0.8), UNDETERMINED),
        (copying(0.1, covered=0.1), NEEDED, sure(0.95), NEITHER),
        (copying(0.1, covered=0.2, half_covered=0.1), NEEDED, sure(0.95), UNDETERMINED),
    ],
)
def test_heads_of_a_layer_may_share_the_points(one, found, union, verdict):
    assert copies(one, found, union=union) == verdict


@pytest.mark.parametrize("other, verdict", [(0.9, NEITHER), (0.8, UNDETERMINED), (0.6, PARTIAL)])
def test_heads_share_the_work_only_where_none_does_it_alone(other, verdict):
    assert copies(HALF, NEEDED, union=sure(0.95), others=[head(0, 1, copy=other)]) == verdict


def test_a_head_that_attends_to_itself_does_not_share_either():
    to_itself = copying(0.9, raw=0.3, covered=0.0)
    assert copies(to_itself, NEEDED, union=sure(0.95)) == NEITHER
    others = [head(0, 1, copy=to_itself)]  # which keeps nobody from it either, if they share the points without it
    assert copies(HALF, NEEDED, union=sure(0.95), others=others) == PARTIAL
    assert copies(HALF, NEEDED, union=sure(0.95), others=others, raw=0.4) == NEITHER


def test_a_head_may_copy_in_the_direction_in_which_it_attends_beside_itself_the_less():
    both = replace(head(copy=0.9), copying=(copying(0.95, raw=0.3), replace(copying(0.9), form="x to y")))
    found = judge_copies([both], None, NEEDED, NULLS)[both.label]
    assert both.copy.raw.value == 0.3 and found.verdict == COPY
    sharing = replace(both, copying=(copying(0.6, covered=0.1), copying(0.5, covered=0.5)))
    assert judge_copies([sharing], (sure(0.95), sure(0.9)), NEEDED, NULLS)[both.label].verdict == PARTIAL


def test_what_the_layers_of_untrained_twins_share_too_proves_nothing():
    nulls = replace(NULLS, union=(0.97,))
    assert copies(HALF, NEEDED, union=sure(0.95), nulls=nulls) == UNDETERMINED and nulls.for_union == 0.97


@pytest.mark.parametrize(
    "factor, lost, decisive",
    [
        (50.0, 0.5, True),
        (2.0, 1.0, True),  # one gradient step has no factor of ten to lose, but all that it has
        (2.0, 0.6, False),
        (1.1, 1.0, False),  # a model that gained nothing has nothing to lose
        (2.0, 0.67, None),
        (Estimate(10.0, 8.0, 12.0), 0.5, None),
        (Estimate(1.6, 1.2, 2.1), 1.0, None),
        (Estimate(1.6, 1.2, 2.1), 0.3, False),
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
        (dict(query=-0.7, label=-0.205), UNDETERMINED),  # the label's interval straddles from above
        (dict(query=0.3, label=0.205), NEITHER),
        (dict(query=1.0, moved=1e-6), NEITHER),  # even attention with a whisper of ⟨x_q, x_j⟩
        (dict(query=1.0, moved=0.01, half_moved=0.005), UNDETERMINED),
    ],
)
def test_a_query_head_follows_the_inner_product_not_the_label_and_moves_its_attention(given, verdict):
    assert query_verdict(judge_query(head(**given), None, NULLS)) == verdict


@pytest.mark.parametrize(
    "factor, given, verdict",
    [
        (5.0, dict(moved=0.008), UNDETERMINED),  # a sink takes the rest of its attention
        (5.0, dict(moved=0.008, label=0.4), NEITHER),
        (5.0, dict(moved=0.4), QUERY),
        (1.2, dict(moved=0.008), NEITHER),
        (Estimate(1.6, 1.4, 1.8), dict(moved=0.008), NEITHER),
    ],
)
def test_a_head_that_moves_a_whisper_is_no_query_head_unless_the_loss_needs_it(factor, given, verdict):
    one = head(query=0.9, **given)
    assert query_verdict(judge_query(one, losses(without(PLACE, factor)), NULLS)) == verdict


def test_what_untrained_heads_do_too_proves_nothing():
    nulls = replace(NULLS, query={"y": (0.8,)})
    assert judge_query(head(query=0.7), None, nulls) is None
    assert nulls.for_query("y") == 0.8 and nulls.for_copy == 0.1
    assert json.loads(json.dumps(nulls.data()))["union"] == [0.15]
