import math

import pytest

from mesascope.analyses.claim import REACHED
from mesascope.analyses.identification.judging import (
    CLOSER,
    EXACT,
    MAX_UNEXPLAINED,
    MIN_SKILL,
    NEGLIGIBLE,
    SURELY,
    T_RANGE,
    WIN,
    ZERO,
    Blend,
    Evidence,
    Match,
    adequate,
    blended,
    gate,
    judge,
    simplest,
    wants_mixtures,
)
from mesascope.probes import Estimate

TINY = 1e-9


def about(value, half=0.0):
    return Estimate(value, value - half, value + half)


def match(family, missed=0.2, unexplained=None, beaten=1.0, closeness=0.0, n_scalars=1):
    """A family that has lost, unless said otherwise."""
    left = missed if unexplained is None else unexplained
    return Match(family, f"{family}*", about(left), about(missed), beaten, closeness, n_scalars)


def winner(family="A", missed=0.001, **more):
    return match(family, missed, beaten=0.0, closeness=1.0, **more)


def blend(a, b, t=0.5, missed=0.001, beaten=0.0, half=0.01, gained=1.0):
    return Blend((a, b), (f"{a}*", f"{b}*"), about(t, half), about(missed), beaten, about(0.01), gained)


def evidence(*matches, limits=None, blends=(), skill=None, untrained=None):
    # As `gather` gives them: zero is no family that is fitted, and has none.
    families = {m.family for m in matches} | {f for b in blends for f in b.families if f != ZERO}
    limits = {family: () for family in families} | (limits or {})
    return Evidence(matches, about(0.999), skill or about(0.8, 0.05), untrained, limits, tuple(blends))


def test_the_one_that_is_left_is_a_name():
    verdict = judge(evidence(winner("A"), match("B"), match("C")))
    assert (verdict.text, verdict.families, verdict.reason) == ("A", ("A",), "")
    assert verdict.named


# The gate.


@pytest.mark.parametrize("low", [MIN_SKILL, 0.0, -0.15, math.nan])
def test_a_layer_that_predicts_next_to_nothing_is_no_algorithm_however_good_the_match(low):
    verdict = judge(evidence(winner(), match("B"), skill=Estimate(low + 0.05, low, low + 0.1)))
    assert verdict.text == "no algorithm" and verdict.families == () and not verdict.named
    assert verdict.reason.startswith("it predicts too little to be compared (cos(ŷ, y) = ")


def test_a_layer_that_predicts_against_y_does_not_predict_too_little():
    verdict = judge(evidence(winner(), match("B"), skill=about(-0.9, 0.02)))
    assert verdict.text == "no algorithm" and verdict.reason == "it predicts against y (cos(ŷ, y) = -0.900)"


def test_skill_is_judged_by_its_lower_end():
    assert gate(evidence(winner(), skill=Estimate(0.5, MIN_SKILL + TINY, 0.9))) is None
    assert gate(evidence(winner(), skill=Estimate(0.5, MIN_SKILL - TINY, 0.9))) is not None


@pytest.mark.parametrize("high, named", [(0.75 - TINY, True), (0.75, False), (0.9, False)])
def test_what_an_untrained_twin_may_predict_as_well_is_undetermined(high, named):
    verdict = judge(evidence(winner(), skill=Estimate(0.8, 0.75, 0.85), untrained=Estimate(0.2, -0.5, high)))
    assert verdict.named is named
    if not named:
        assert verdict.text == REACHED and verdict.families == ()
        assert verdict.reason.startswith("an untrained twin may predict as much (cos ≤")


def test_what_has_no_twin_is_judged_without():
    assert judge(evidence(winner(), untrained=None)).named


# Who is excluded.


@pytest.mark.parametrize(
    "beaten, closeness, excluded",
    [
        (WIN, CLOSER, True),
        (WIN - TINY, 0.0, False),  # not surely farther
        (1.0, CLOSER + TINY, False),  # surely farther, but not by much
        (1.0, math.nan, False),
    ],
)
def test_a_rival_is_excluded_only_if_it_is_beaten_and_far(beaten, closeness, excluded):
    rival = match("B", 0.003, beaten=beaten, closeness=closeness)
    verdict = judge(evidence(winner("A"), rival))
    if excluded:
        assert verdict.text == "A"
        return
    assert verdict.text == "undetermined: A or B" and verdict.families == ("A", "B")
    assert verdict.reason == "that does not tell it from B" and not verdict.named


def test_three_that_are_left_are_all_listed():
    rivals = [match(name, 0.003, beaten=0.5, closeness=0.9) for name in "BC"]
    verdict = judge(evidence(winner("A"), *rivals))
    assert verdict.text == "undetermined: A, B or C" and verdict.reason == "that does not tell it from B or C"


def decoder_d5():
    """Three families held against a trained decoder's output: of the last, nothing is sure."""
    gd = Match("GD", "GD*", Estimate(0.0126, 0.0019, 0.0308), Estimate(0.088, 0.0, 0.21), 0.947, 0.0, 1)
    return (
        Match("ridge", "ridge*", about(0.0021), Estimate(0.0, 0.0, 0.0014), 0.0, 1.0, 1),
        Match("Newton", "Newton*", about(0.0021), Estimate(0.0001, 0.0, 0.0014), 0.566, 0.0, 1),
        gd,
    )


def test_a_rival_that_is_not_excluded_but_not_near_enough_leaves_it_undetermined():
    ridge, newton, gd = decoder_d5()
    for matches in ((ridge, newton, gd), (ridge, gd), (ridge, newton)):
        verdict = judge(evidence(*matches))
        families = tuple(match.family for match in matches)
        assert verdict.text.startswith("undetermined: ridge") and verdict.families == families


def test_mixtures_are_wanted_only_where_nothing_that_is_left_is_near_enough():
    ridge, _, gd = decoder_d5()
    assert not wants_mixtures(evidence(ridge, gd))
    assert wants_mixtures(evidence(*NEAR))
    assert not wants_mixtures(evidence(*NEAR, skill=about(0.05)))


# Special cases.


def test_a_special_case_that_is_not_excluded_takes_the_name_from_the_richer_family():
    rich, simple = winner("rich"), match("simple", 0.002, beaten=0.5, closeness=0.9)
    assert judge(evidence(rich, simple, limits={"rich": ("simple",)})).text == "simple"
    assert judge(evidence(rich, simple)).text == "undetermined: rich or simple"  # without the relation


@pytest.mark.parametrize("missed, found", [(NEGLIGIBLE, "simple"), (NEGLIGIBLE + TINY, "rich")])
def test_a_special_case_that_misses_next_to_nothing_keeps_the_name_though_beaten(missed, found):
    # The richer family fits the noise too, so that it wins every bootstrap, by next to nothing.
    rich, simple = winner("rich", missed=0.0), match("simple", missed, beaten=1.0, closeness=0.0)
    assert judge(evidence(rich, simple, limits={"rich": ("simple",)})).text == found


def test_missing_next_to_nothing_does_not_save_a_rival_that_is_no_special_case():
    assert judge(evidence(winner("A", missed=0.0), match("B", NEGLIGIBLE / 2))).text == "A"


def test_a_special_case_of_an_excluded_family_is_not_saved_by_it():
    matches = (winner("A", missed=0.0), match("rich", 0.2), match("simple", NEGLIGIBLE / 2))
    assert judge(evidence(*matches, limits={"rich": ("simple",)})).text == "A"


def test_a_richer_family_does_not_take_the_name_from_its_special_case():
    simple, rich = winner("simple"), match("rich", 0.0015, beaten=0.5, closeness=0.9)
    assert judge(evidence(simple, rich, limits={"rich": ("simple",)})).text == "simple"


@pytest.mark.parametrize("n, found", [((2, 4), ("A",)), ((4, 2), ("B",)), ((3, 3), ("A", "B"))])
def test_of_two_that_are_each_others_special_cases_the_one_with_fewer_scalars_has_the_name(n, found):
    both = winner("A", n_scalars=n[0]), match("B", 0.0005, beaten=0.6, closeness=0.9, n_scalars=n[1])
    kept = simplest(both, {"A": ("B",), "B": ("A",)})
    assert tuple(m.family for m in kept) == found


RICH = {"rich": ("simple",)}


@pytest.mark.parametrize("beaten, text", [(WIN, "like rich or simple, but not it"), (0.9, "like simple, but not it")])
def test_a_special_case_that_is_beaten_and_not_near_enough_takes_nothing_from_the_richer_family(beaten, text):
    rich = winner("rich", missed=0.13, unexplained=0.03)
    simple = match("simple", 0.24, 0.05, beaten=beaten, closeness=0.5)
    assert judge(evidence(rich, simple, limits=RICH)).text == text


def test_a_richer_family_that_is_near_enough_is_not_displaced_by_a_special_case_that_is_not():
    rich, simple = winner("rich", missed=0.009), match("simple", 0.031, beaten=0.9, closeness=0.3)
    assert judge(evidence(rich, simple, limits=RICH)).text == "undetermined: rich or simple"
    excluded = match("simple", 0.031, beaten=1.0, closeness=0.2)
    assert judge(evidence(rich, excluded, limits=RICH)).text == "rich"


def test_the_nearest_decides_whether_anything_is_near_though_a_special_case_has_its_name():
    rich = winner("rich", missed=0.05, unexplained=MAX_UNEXPLAINED - TINY)
    simple = match("simple", 0.06, MAX_UNEXPLAINED - TINY, beaten=0.6, closeness=0.9)
    verdict = judge(evidence(rich, simple, limits=RICH))
    assert verdict.text == "like simple, but not it"
    assert verdict.reason == "even the nearest, rich*, misses 0.05 of what could be explained (0.01 is allowed)"
    far = match("simple", 0.06, MAX_UNEXPLAINED + TINY, beaten=0.6, closeness=0.9)
    assert judge(evidence(rich, far, limits=RICH)).text == "like rich, but not it"


def test_none_of_the_listed_quotes_the_nearest():
    rich, simple = winner("rich", missed=0.5, unexplained=0.16), match("simple", 0.6, 0.24, beaten=0.9, closeness=0.7)
    verdict = judge(evidence(rich, simple, limits=RICH))
    assert verdict.text == "none of the listed" and verdict.reason == "rich* leaves 0.16 of it unexplained"


# Whether it is near enough.


@pytest.mark.parametrize(
    "missed, unexplained, enough",
    [
        (EXACT, MAX_UNEXPLAINED, True),
        (EXACT + TINY, 0.0, False),
        (0.0, MAX_UNEXPLAINED + TINY, False),
        (math.nan, 0.0, False),  # of a learner that overflows
        (0.0, math.nan, False),
    ],
)
def test_a_family_is_adequate_if_it_explains_what_could_be_explained(missed, unexplained, enough):
    assert adequate(match("A", missed, unexplained)) is enough


def test_the_upper_end_of_the_interval_counts():
    wide = Match("A", "A*", about(0.001), Estimate(0.001, 0.0, SURELY * EXACT + TINY), 0.0, 1.0, 0)
    assert not adequate(wide)


@pytest.mark.parametrize("high, enough", [(SURELY * EXACT, True), (SURELY * EXACT + TINY, False), (math.nan, False)])
def test_the_upper_end_of_a_mixtures_interval_may_lie_beyond_by_so_much(high, enough):
    mixed = Blend(("A", "B"), ("A*", "B*"), about(0.5), Estimate(0.001, 0.0, high), 0.0, about(0.01), 1.0)
    assert blended(mixed) is enough


@pytest.mark.parametrize("gained, is_one", [(WIN, True), (WIN - TINY, False), (math.nan, False)])
def test_a_mixture_must_gain_on_the_nearest_single_family(gained, is_one):
    mixed = blend("A", "B", gained=gained)
    assert blended(mixed) is is_one
    assert judge(evidence(*NEAR, blends=[mixed])).text.startswith("mixture" if is_one else "like A, but not it")


def test_the_nearest_that_misses_too_much_is_only_like_it():
    verdict = judge(evidence(winner("A", missed=EXACT + TINY, unexplained=0.02), match("B")))
    assert verdict.text == "like A, but not it" and verdict.families == ("A",) and not verdict.named
    assert verdict.reason == "A* misses 0.01 of what could be explained (0.01 is allowed)"


def test_two_that_are_left_and_miss_too_much_are_both_only_like_it():
    verdict = judge(evidence(winner("A", missed=0.02), match("B", 0.03, beaten=0.5, closeness=0.7)))
    assert verdict.text == "like A or B, but not it"


@pytest.mark.parametrize("left", [MAX_UNEXPLAINED + TINY, 0.9, math.nan])
def test_what_nothing_explains_is_none_of_the_listed(left):
    verdict = judge(evidence(winner("A", missed=0.5, unexplained=left), match("B")))
    assert verdict.text == "none of the listed" and verdict.families == () and not verdict.named
    assert verdict.reason.startswith("A* leaves ")


# Mixtures.


NEAR = winner("A", missed=0.05), match("B", 0.06)


def test_a_mixture_is_named_with_its_share():
    verdict = judge(evidence(*NEAR, blends=[blend("A", "B", t=0.374)]))
    assert verdict.text == "mixture of A and B at t=0.37" and verdict.families == ("A", "B") and verdict.named


def test_a_single_family_that_is_near_enough_goes_before_a_mixture():
    assert judge(evidence(winner("A"), match("B"), blends=[blend("A", "B", missed=0.0)])).text == "A"


@pytest.mark.parametrize(
    "t, half, missed, is_one",
    [
        (0.5, 0.1, EXACT, True),
        (0.5, 0.1, EXACT + TINY, False),
        (T_RANGE[0] + 0.01, 0.01 - TINY, 0.0, True),
        (T_RANGE[0] + 0.01, 0.01 + TINY, 0.0, False),
        (T_RANGE[1] - 0.01, 0.01 + TINY, 0.0, False),
        (1.4, 0.1, 0.0, False),
        (math.nan, 0.0, 0.0, False),
    ],
)
def test_a_mixture_lies_surely_between_the_two_and_explains_what_could_be_explained(t, half, missed, is_one):
    mixed = blend("A", "B", t, missed, half=half)
    assert blended(mixed) is is_one
    assert judge(evidence(*NEAR, blends=[mixed])).text.startswith("mixture" if is_one else "like A, but not it")


@pytest.mark.parametrize("beaten, undetermined", [(WIN - TINY, True), (WIN, False)])
def test_another_mixture_that_fits_as_well_leaves_it_undetermined(beaten, undetermined):
    verdict = judge(evidence(*NEAR, blends=[blend("A", "B"), blend("A", "C", beaten=beaten)]))
    if not undetermined:
        assert verdict.text == "mixture of A and B at t=0.50" and verdict.named
        return
    assert verdict.text == "undetermined: mixture of A and B or A and C"
    assert verdict.families == ("A", "B", "C") and not verdict.named
    assert verdict.reason == "one of A* and C* at t=0.50 fits as well"


def test_a_learner_mixed_with_zero_is_scaled_and_so_another_one():
    verdict = judge(evidence(*NEAR, blends=[blend("A", ZERO, t=0.3)]))
    assert verdict.text == "like A, but not it" and verdict.families == ("A",) and not verdict.named
    assert verdict.reason == "it is 0.30 of A*"


@pytest.mark.parametrize("order", [("rich", "B"), ("B", "rich")])
def test_a_mixture_with_a_special_case_takes_the_name_from_one_with_the_richer_family(order):
    blends = [blend(*order), blend("simple", "B", t=0.4, beaten=0.9)]
    verdict = judge(evidence(*NEAR, match("rich"), match("simple"), limits={"rich": ("simple",)}, blends=blends))
    assert verdict.text == "mixture of simple and B at t=0.40"


def test_mixtures_that_are_each_others_special_cases_are_not_both_left_out():
    limits = {"rich": ("other",), "other": ("rich",)}
    blends = [blend("rich", "B"), blend("other", "B", beaten=0.5)]
    verdict = judge(evidence(*NEAR, match("rich"), match("other"), limits=limits, blends=blends))
    assert "mixture of rich and B" in verdict.text and set(verdict.families) >= {"rich", "B"}


def test_a_special_mixture_that_misses_next_to_nothing_keeps_the_name_though_beaten():
    simple, far = (blend("simple", "B", 0.4, missed, beaten=1.0) for missed in (NEGLIGIBLE, NEGLIGIBLE + TINY))
    for second, text in ((simple, "mixture of simple and B at t=0.40"), (far, "mixture of rich and B at t=0.50")):
        both = [blend("rich", "B", missed=0.0), second]
        assert judge(evidence(*NEAR, match("rich"), limits={"rich": ("simple",)}, blends=both)).text == text


def test_a_scaled_learner_takes_the_name_from_its_mixture_with_another():
    blends = [blend("A", "B"), blend("A", ZERO, t=0.8, beaten=0.5)]
    assert judge(evidence(*NEAR, blends=blends)).text == "like A, but not it"


def test_a_scaled_learner_that_is_nearest_is_none_of_the_mixtures_that_fit_as_well():
    blends = [blend("A", ZERO, t=0.8), blend("C", "B", beaten=0.5)]
    verdict = judge(evidence(*NEAR, blends=blends))
    assert verdict.text == "like A, but not it" and verdict.reason == "it is 0.80 of A*"


def test_a_mixtures_label_says_what_is_mixed():
    assert blend("A", "B", 0.256).label == "A* and B* at t=0.26"


def test_a_mixture_that_leaves_too_much_unexplained_is_none():
    mixed = Blend(("A", "B"), ("A*", "B*"), about(0.5), about(0.001), 0.0, about(MAX_UNEXPLAINED + TINY), 1.0)
    assert not blended(mixed)
