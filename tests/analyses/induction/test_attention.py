import pytest
import torch

from mesascope.analyses import attach
from mesascope.analyses.induction.attention import _covered, read_attention
from mesascope.models import copy_then_descend
from mesascope.probes import Estimate
from tests.analyses.induction.conftest import TASK


def test_a_point_is_covered_as_far_as_its_interval_allows_to_say():
    sure, open_, missed = Estimate(0.9, 0.8, 1.0), Estimate(0.51, 0.4, 0.6), Estimate(0.1, 0.0, 0.2)
    assert _covered([sure, open_, missed, missed]) == Estimate(0.5, 0.25, 0.5)


def test_a_copy_of_every_point_covers_them_all_and_a_query_head_none():
    found = read_attention(attach(copy_then_descend(3, 15, 1.0), task=TASK), 40)
    copier, asker = found.heads
    assert [one.value for one in found.unions[0]] == pytest.approx([1, 1])
    assert copier.copy is not None and copier.copy.covered == Estimate(1.0, 1.0, 1.0)
    assert asker.copy is not None and asker.copy.covered.high < 0.2


def test_what_moves_is_half_of_the_distance_from_even_attention():
    """Independently, from the pattern of one query."""
    scope = attach(copy_then_descend(3, 15, 1.0, dtype=torch.float64), task=TASK)
    prompts = scope.prompts(40, "induction")
    _, cache = scope.hooked.run_with_cache(prompts.xs, prompts.ys, names_filter="blocks.1.attn.hook_pattern")
    shares = cache["blocks.1.attn.hook_pattern"][:, 0, -1, 1:28:2]  # the last query at the tokens of y
    shares = shares / cache["blocks.1.attn.hook_pattern"][:, 0, -1].abs().sum(-1, keepdim=True)
    moved = (shares - shares.mean(-1, keepdim=True)).abs().sum(-1).mean() / 2
    towards = read_attention(scope, 40).heads[1].towards("y")
    assert towards is not None and towards.moved.value == pytest.approx(moved.item())
