from collections import namedtuple

import pytest
import torch

from mesascope.analyses.planting import Draw, PlantedTest

Case = namedtuple("Case", "kind right")


def test_cases_are_counted_by_kind_in_the_order_in_which_kinds_come():
    cases = (Case("GD", True), Case("ridge", False), Case("GD", False))
    assert list(PlantedTest(cases, 0).by_kind.items()) == [("GD", (1, 2)), ("ridge", (0, 1))]


def test_draws_fill_their_range_both_ends_included():
    draw = Draw(torch.Generator().manual_seed(0))
    assert {draw.whole(2, 4) for _ in range(50)} == {2, 3, 4}
    even = [draw.uniform(-1.0, 3.0) for _ in range(500)]
    assert -1 <= min(even) < -0.9 and 2.9 < max(even) <= 3 and sum(even) / 500 == pytest.approx(1.0, abs=0.15)
    logs = [draw.log_uniform(0.01, 100.0) for _ in range(500)]
    assert min(logs) >= 0.01 and sum(one < 1 for one in logs) / 500 == pytest.approx(0.5, abs=0.06)
