from mesascope.analyses.induction.paths import alone, only, path_knockouts, remaining_knockouts, without
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


def test_all_but_one_are_cut_only_where_no_head_matters_by_itself():
    joint = path([(0, 0)], [(1, 0), (1, 1)], 20.0)
    by_itself = losses(joint, path([(0, 0)], [(1, 0)], 5.0), path([(0, 0)], [(1, 1)], 1.0))
    assert remaining_knockouts(by_itself) == [] and alone(by_itself, "readers") == ((1, 0),)
    readers = [(1, 0), (1, 1), (1, 2)]
    together = losses(path([(0, 0)], readers, 20.0), *(path([(0, 0)], [reader], 1.0) for reader in readers))
    found = remaining_knockouts(together)
    assert [cut.readers for cut, what in found] == [((1, 1), (1, 2)), ((1, 0), (1, 2)), ((1, 0), (1, 1))]
    assert {what for _, what in found} == {"remaining paths"}
    assert remaining_knockouts(losses(path([(0, 0)], [(1, 0), (1, 1)], 1.1))) == remaining_knockouts(losses()) == []


def test_of_two_heads_all_but_one_was_cut_already():
    joint = path([(0, 0)], [(1, 0), (1, 1)], 20.0)
    two = losses(joint, path([(0, 0)], [(1, 0)], 1.0), path([(0, 0)], [(1, 1)], 1.0))
    assert remaining_knockouts(two) == []
