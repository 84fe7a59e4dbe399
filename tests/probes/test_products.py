import pytest
import torch

from mesascope.probes import Products, distances, mixing


def vectors(n_prompts=30, n_points=4, seed=0):
    rng = torch.Generator().manual_seed(seed)
    names = ("a", "b", "c", "target")
    return {name: torch.randn(n_prompts, n_points, dtype=torch.float64, generator=rng) for name in names}


@pytest.mark.parametrize("n_blocks", [1, 7, 30, 100])
def test_blocks_add_up_to_the_products_of_all_prompts_however_many_there_are(n_blocks):
    given = vectors()
    flat = torch.stack([v.flatten() for v in given.values()])
    found = Products.of(given, n_blocks)
    assert len(found.blocks) == min(n_blocks, 30)  # never more blocks than prompts
    torch.testing.assert_close(found.total, flat @ flat.T)


def test_a_block_holds_whole_consecutive_prompts():
    given = vectors(n_prompts=10)
    found = Products.of(given, 5)
    part = torch.stack([v[2:4].flatten() for v in given.values()])
    torch.testing.assert_close(found.blocks[1], part @ part.T)


def test_products_of_two_sets_of_prompts_add_up_to_those_of_both():
    one, other = vectors(seed=1), vectors(seed=2)
    both = {name: torch.cat([one[name], other[name]]) for name in one}
    added = Products.of(one, 3) + Products.of(other, 4)
    assert len(added.blocks) == 7
    torch.testing.assert_close(added.total, Products.of(both, 1).total)


def test_products_of_other_names_do_not_add_up():
    given = vectors()
    fewer = {name: given[name] for name in ("a", "b")}
    with pytest.raises(ValueError, match=r"\('a', 'b', 'c', 'target'\) and of \('a', 'b'\) do not add up"):
        Products.of(given, 2) + Products.of(fewer, 2)


def test_float32_predictions_are_summed_in_float64():
    given = {"a": torch.full((1000, 10), 1e4 + 1 / 3, dtype=torch.float32)}
    assert Products.of(given, 1).total.item() == pytest.approx(
        given["a"].double().square().sum().item(), rel=1e-12
    )  # float32 sums: 1e-6


def test_distances_equal_those_by_brute_force():
    given = vectors()
    found = Products.of(given, 3)
    expected = torch.stack([(v - given["target"]).square().sum() for v in given.values()])
    torch.testing.assert_close(distances(found.total, found.index("target")), expected)
    # With leading axes, as of resamples.
    torch.testing.assert_close(distances(found.blocks, 3).sum(0), expected)


def test_rounding_makes_no_distance_negative():
    v = torch.randn(50, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 1e6
    found = Products.of({"v": v, "same": v * (1 + 1e-12)}, 1)
    assert (distances(found.total, 0) >= 0).all()


def test_the_best_mixture_of_two_is_that_of_least_squares():
    given = vectors()
    a, b, target = (given[name].flatten() for name in ("a", "b", "target"))
    solved = torch.linalg.lstsq((a - b)[:, None], (target - b)[:, None]).solution.item()
    t, left = mixing(Products.of(given, 1).total, 3, (0, 1))
    assert t.item() == pytest.approx(solved, rel=1e-12)
    assert left.item() == pytest.approx((target - solved * a - (1 - solved) * b).square().sum().item(), rel=1e-12)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0, 1.7])
def test_a_mixture_is_found_with_its_share_beyond_0_and_1_too(share):
    given = vectors()
    given["target"] = share * given["a"] + (1 - share) * given["b"]
    found = Products.of(given, 4)
    t, left = mixing(found.blocks, 3, (0, 1))
    torch.testing.assert_close(t, torch.full((4,), share, dtype=torch.float64))
    assert left.max() < 1e-12 * found.total[3, 3] and (left >= 0).all()


def test_the_share_of_two_that_are_one_is_unknown():
    given = vectors()
    t, _ = mixing(Products.of(given, 1).total, 3, (0, 0))
    assert t.isnan()


def test_resamples_scatter_around_the_sum_as_blocks_do():
    found = Products.of(vectors(n_prompts=200), 40)
    n = 4000
    drawn = found.bootstrap(n, torch.Generator().manual_seed(0))
    assert drawn.shape == (n, 4, 4)
    # Var of a resampled sum is n_blocks times the blocks' (population) variance; four standard errors of its mean.
    error = (40 * found.blocks.var(0, correction=0)).sqrt()
    assert ((drawn.mean(0) - found.total).abs() <= 4 * error / n**0.5).all()
    torch.testing.assert_close(drawn.std(0), error, rtol=0.06, atol=0)
    torch.testing.assert_close(drawn, drawn.mT)


def test_resamples_depend_on_the_generator_alone():
    found = Products.of(vectors(), 10)
    one, again, other = (found.bootstrap(5, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    torch.testing.assert_close(one, again, rtol=0, atol=0)
    assert not torch.equal(one, other)


def test_one_block_has_one_resample():
    found = Products.of(vectors(), 1)
    torch.testing.assert_close(found.bootstrap(3, torch.Generator()), found.total.expand(3, 4, 4))


def test_folding_keeps_the_sum_and_bounds_the_blocks():
    torch.manual_seed(0)
    parts = [Products.of({name: torch.randn(12, 3) for name in "ab"}, 6) for _ in range(5)]
    folded = Products.folded(parts, 10)
    assert len(folded.blocks) == 10 and len(Products.folded(parts[:1], 10).blocks) == 6
    torch.testing.assert_close(folded.total, sum(part.total for part in parts))
