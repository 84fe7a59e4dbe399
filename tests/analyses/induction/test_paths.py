from mesascope.analyses.induction.paths import (
    alone,
    named_knockouts,
    named_paths,
    only,
    path_knockouts,
    remaining_knockouts,
    without,
)
from mesascope.probes.ablation import Knockout
from tests.analyses.induction import readings
from tests.analyses.induction.readings import head, losses, path

USES = ("q", "k", "v")


def asked(copies, queries, *effects):
    return [knockout for knockout, _ in path_knockouts(copies, queries, losses(*effects))]


def test_the_joint_cut_comes_first_and_every_cut_is_made_once():
    cuts = asked([head(0, 0, copy=0.9)], [head(1, 0, query=0.7), head(2, 1, query=0.7)])
    assert cuts[0] == Knockout(((0, 0),), "mean", ((1, 0), (2, 1))) and len(cuts) == len(set(cuts))
    assert [cut.uses for cut in cuts[1:4]] == [("q",), ("k",), ("v",)]
    assert cuts[4:] == [Knockout(((0, 0),), "mean", ((reader),)) for reader in ((1, 0), (2, 1))]
    assert [cut.uses for cut in asked([head(0, 0)], [head(1, 0)])] == [USES, ("q",), ("k",), ("v",)]


def test_only_heads_with_one_to_read_or_to_be_read_by_are_cut():
    cuts = asked([head(0, 0), head(2, 0)], [head(0, 1), head(1, 0)])
    assert {cut.heads for cut in cuts} == {((0, 0),)} and {cut.readers for cut in cuts} == {((1, 0),)}
    assert asked([head(1, 0)], [head(1, 1)]) == asked([], [head(1, 1)]) == asked([head(1, 0)], []) == []


def test_however_many_heads_there_are_the_joint_cut_is_of_them_all():
    copiers, askers = [(0, place) for place in range(6)], [(1, place) for place in range(12)]
    cuts = asked([head(*place) for place in copiers], [head(*place) for place in askers])
    assert cuts[0] == Knockout(tuple(copiers), "mean", tuple(askers))
    assert {cut.heads for cut in cuts if cut.readers == tuple(askers)} >= {(place,) for place in copiers}
    assert {cut.readers for cut in cuts if cut.heads == tuple(copiers)} >= {(place,) for place in askers}


def test_costly_copy_heads_behind_the_strong_query_heads_hide_no_path():
    copies = [*(head(0, place) for place in range(2)), *(head(2, place) for place in range(4))]
    queries = [*(head(1, place, query=0.9) for place in range(8)), *(head(3, place, query=0.6) for place in range(2))]
    effects = [readings.without((2, place), 50.0) for place in range(4)]
    cuts = asked(copies, queries, *effects)
    assert len(cuts[0].heads) == 6 and len(cuts[0].readers) == 10
    assert all(min(cut.heads) < max(cut.readers) for cut in cuts)


def test_of_many_pairs_those_are_cut_of_the_costliest_copy_heads_and_the_strongest_query_heads():
    costs = {0: 2.0, 1: 50.0, 2: 3.0}
    effects = [readings.without((0, place), cost) for place, cost in costs.items()]
    queries = [head(1, place, query=0.5 + 0.01 * place) for place in range(20)]
    cuts = asked([head(0, place) for place in costs], queries, *effects)
    pairs = [(cut.heads[0][1], cut.readers[0][1]) for cut in cuts if len(cut.heads) == len(cut.readers) == 1]
    assert pairs == [(1, place) for place in reversed(range(20))] + [(2, place) for place in reversed(range(8, 20))]


def test_a_head_is_cut_from_all_that_it_can_reach():
    joint = Knockout(((0, 0), (1, 1)), "mean", ((1, 0), (2, 1)))
    assert only(joint, "readers", (1, 0)) == Knockout(((0, 0),), "mean", ((1, 0),))
    assert only(joint, "readers", (2, 1)) == Knockout(((0, 0), (1, 1)), "mean", ((2, 1),))
    assert only(joint, "heads", (1, 1)) == Knockout(((1, 1),), "mean", ((2, 1),))
    assert without(joint, "readers", (1, 0)) == Knockout(((0, 0), (1, 1)), "mean", ((2, 1),))
    assert without(joint, "heads", (1, 1)) == Knockout(((0, 0),), "mean", ((1, 0), (2, 1)))
    assert without(joint, "heads", (0, 0)) == Knockout(((1, 1),), "mean", ((2, 1),))


def test_all_but_one_are_cut_where_all_together_matter_and_a_head_does_not_by_itself():
    readers = [(1, 0), (1, 1), (1, 2)]
    together = losses(path([(0, 0)], readers, 20.0), *(path([(0, 0)], [reader], 1.0) for reader in readers))
    found = remaining_knockouts(together)
    assert [cut.readers for cut, what in found] == [((1, 1), (1, 2)), ((1, 0), (1, 2)), ((1, 0), (1, 1))]
    assert {what for _, what in found} == {"remaining paths"}
    by_itself = losses(together.effects[0], path([(0, 0)], readers[:1], 5.0), *together.effects[2:])
    assert remaining_knockouts(by_itself) == found[1:] and alone(by_itself, "readers", (1, 0))
    little = losses(path([(0, 0)], readers, 1.1))
    assert remaining_knockouts(little) == remaining_knockouts(losses()) == named_knockouts(little) == []


def test_of_two_heads_all_but_one_was_cut_already():
    joint = path([(0, 0)], [(1, 0), (1, 1)], 20.0)
    two = losses(joint, path([(0, 0)], [(1, 0)], 1.0), path([(0, 0)], [(1, 1)], 1.0))
    assert remaining_knockouts(two) == []


def test_the_paths_between_those_that_are_needed_are_cut_unless_that_was_done():
    readers = [(1, 0), (1, 1), (1, 2)]
    joint = path([(0, 0)], readers, 20.0)
    own = [path([(0, 0)], [reader], cost) for reader, cost in zip(readers, (5.0, 5.0, 1.0), strict=True)]
    rest = path([(0, 0)], readers[:2], 20.0, what="remaining paths")
    assert named_knockouts(losses(joint, *own, rest)) == [] and named_paths(losses(joint, *own, rest)) == rest.knockout
    four = [*readers, (1, 3)]
    costs = zip(four, (5.0, 5.0, 1.0, 1.0), strict=True)
    rests = [path([(0, 0)], [one for one in four if one != left], 20.0) for left in four[2:]]
    some = losses(path([(0, 0)], four, 20.0), *(path([(0, 0)], [reader], cost) for reader, cost in costs), *rests)
    assert named_knockouts(some) == [(Knockout(((0, 0),), "mean", ((1, 0), (1, 1))), "named paths")]
