import numpy as np
import pytest
import torch
from transformer_lens import head_detector

from mesascope.models import load
from mesascope.models.layouts import LAYOUTS
from mesascope.probes.attention_scores import (
    COMPARED,
    as_shares,
    copy_sums,
    correlation,
    discrete_sums,
    query_sums,
    ratio,
    similarities,
)
from mesascope.probes.token_roles import TokenRoles

N_PROMPTS, N_POINTS, N_DIMS, QUERIES = 40, 6, 3, [1, 2, 3, 4, 5]
ROLES = TokenRoles.of(LAYOUTS["interleaved"], N_POINTS, N_DIMS)


@pytest.fixture
def points():
    rng = torch.Generator().manual_seed(0)
    xs = torch.randn(N_PROMPTS, N_POINTS, N_DIMS, generator=rng, dtype=torch.float64)
    return xs, torch.randn(N_PROMPTS, N_POINTS, generator=rng, dtype=torch.float64)


def attending(weights, target="y"):
    """A head that attends from each x_t to one kind of tokens with some weights `[batch, n_points, n_points]`."""
    pattern = torch.zeros(len(weights), 1, 2 * N_POINTS, 2 * N_POINTS, dtype=torch.float64)
    pattern[:, 0, ::2, 1 if target == "y" else 0 :: 2] = weights.tril(-1)
    return pattern


def scores(pattern, points, queries=QUERIES):
    xs, ys = points
    return query_sums(pattern, similarities(xs, ys, queries), ROLES, queries)


@pytest.mark.parametrize("target", ["x", "y"])
@pytest.mark.parametrize("compared", COMPARED)
def test_the_correlation_is_that_of_all_points_less_the_mean_of_their_prompt(points, target, compared):
    xs, ys = points
    pattern = torch.rand(N_PROMPTS, 1, 12, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64).tril()
    found = correlation(scores(pattern, points), target, compared)[0]
    for row, t in enumerate(QUERIES[1:], start=1):
        a = pattern[:, 0, 2 * t, (1 if target == "y" else 0) : 2 * t : 2].numpy()
        distance = -((xs[:, [t]] - xs[:, :t]) ** 2).sum(-1)
        products = torch.einsum("bd,bjd->bj", xs[:, t], xs[:, :t])
        s = {"similar": products, "shuffled": products.roll(1, 0), "label": ys[:, :t], "near": distance}[compared]
        s = s.numpy()
        a, s = a - a.mean(1, keepdims=True), s - s.mean(1, keepdims=True)
        assert found[row].item() == pytest.approx(np.corrcoef(a.ravel(), s.ravel())[0, 1], abs=1e-12)


@pytest.mark.parametrize("target", ["x", "y"])
def test_a_head_that_attends_by_the_inner_product_has_correlation_one_on_its_tokens_and_none_on_others(points, target):
    products = points[0] @ points[0].mT
    sums = scores(attending(products, target), points)
    other = {"x": "y", "y": "x"}[target]
    assert correlation(sums, target, "similar")[0, 1:].numpy() == pytest.approx(1, abs=1e-12)
    assert not correlation(sums, other, "similar").any()
    assert correlation(sums, target, "shuffled").abs().max() < 0.5
    assert ratio(sums[f"{target} mass"], sums["self"] + sums[f"{target} mass"]).numpy() == pytest.approx(1)


def test_neither_the_scale_nor_the_sign_of_linear_attention_changes_shares_or_the_size_of_a_correlation(points):
    pattern = attending(points[0] @ points[0].mT + 0.3)
    one, two = scores(pattern, points), scores(-7.0 * pattern, points)
    torch.testing.assert_close(correlation(one, "y", "similar"), -correlation(two, "y", "similar"))
    for name in ("y mass", "y uniform", "y nearest", "self"):
        torch.testing.assert_close(one[name], two[name])
    torch.testing.assert_close(one["y match"], -two["y match"])


def test_uniform_attention_is_uniform_and_matches_nothing(points):
    sums = scores(attending(torch.ones(N_PROMPTS, N_POINTS, N_POINTS, dtype=torch.float64)), points)
    assert (sums["y uniform"] / N_PROMPTS).numpy() == pytest.approx(1)
    assert sums["y match"].abs().max() < 1e-10
    assert (sums["y nearest"] / N_PROMPTS)[0].tolist() == pytest.approx([1 / t for t in QUERIES])


def test_attention_on_the_most_similar_point_is_nearest_and_matches_fully(points):
    products = (points[0] @ points[0].mT).masked_fill(~torch.ones(6, 6, dtype=torch.bool).tril(-1), -torch.inf)
    hot = torch.nn.functional.one_hot(products.argmax(-1), N_POINTS).double()
    sums = scores(attending(hot), points)
    assert (sums["y nearest"] / N_PROMPTS).numpy() == pytest.approx(1)
    assert ratio(sums["y match"], sums["y matchable"])[0, 1:].numpy() == pytest.approx(1)
    assert (sums["y uniform"] / N_PROMPTS)[0, 1:].abs().max() < 1e-12
    assert (sums["y nearest shuffled"] / N_PROMPTS)[0, -1] < 0.5


def test_a_head_that_attends_to_nothing_has_no_scores_and_no_nan(points):
    sums = scores(torch.zeros(N_PROMPTS, 1, 12, 12, dtype=torch.float64), points)
    assert all(value.isfinite().all() for value in sums.values())
    assert not correlation(sums, "y", "similar").any() and not sums["y mass"].any()


def test_tokens_that_hold_both_are_one_group(points):
    roles = TokenRoles.of(LAYOUTS["joint"], N_POINTS, N_DIMS)
    xs, ys = points
    pattern = (xs @ xs.mT)[:, None].clone()
    sums = query_sums(pattern, similarities(xs, ys, [5]), roles, [5])
    assert correlation(sums, "y", "similar").item() == pytest.approx(1)
    assert "x mass" not in sums and copy_sums(as_shares(pattern), roles) == {}


def test_a_copy_counts_what_is_attended_beside_itself():
    pattern = torch.zeros(2, 1, 12, 12, dtype=torch.float64)
    pattern[:, 0, range(1, 12, 2), range(0, 12, 2)] = 0.3  # y_i on x_i
    pattern[:, 0, range(1, 12, 2), range(1, 12, 2)] = 0.6  # and on itself
    pattern[:, 0, range(3, 12, 2), 0] = 0.1
    sums = copy_sums(as_shares(pattern), ROLES)
    scores = ratio(sums["y to x"], sums["y to x others"])[0]
    assert scores.tolist() == pytest.approx([1.0, *[0.75] * 5]) and not sums["x to y"].any()
    assert (sums["y to x"] / 2)[0].tolist() == pytest.approx([0.3 / 0.9, *[0.3] * 5])


def test_a_copy_of_y_into_the_token_of_x_is_one_too():
    pattern = torch.zeros(1, 1, 12, 12, dtype=torch.float64)
    pattern[:, 0, range(0, 12, 2), range(1, 12, 2)] = -2.0
    sums = copy_sums(as_shares(pattern), ROLES)
    assert ratio(sums["x to y"], sums["x to y others"])[0].tolist() == [1.0] * 6 and not sums["y to x"].any()


def test_the_scores_on_tokens_are_those_of_transformer_lens():
    loaded = load("zoo:induction")
    prompts = loaded.task.sample(3, seed=5)
    with torch.no_grad():
        _, cache = loaded.model.run_with_cache(prompts.xs, prompts.ys, names_filter="*hook_pattern")
    detectors = {
        "previous": head_detector.get_previous_token_head_detection_pattern,
        "prefix": head_detector.get_induction_head_detection_pattern,
        "duplicate": head_detector.get_duplicate_token_head_detection_pattern,
    }
    largest = dict.fromkeys(detectors, 0.0)
    for layer in range(2):
        pattern = cache[f"blocks.{layer}.attn.hook_pattern"].double()
        for prompt, xs in enumerate(prompts.xs.double()):
            shares = as_shares(pattern[[prompt]])
            sums = discrete_sums(shares, (xs @ xs.mT)[None])
            tokens = xs.argmax(-1)[None]
            for name, detect in detectors.items():
                for head in range(4):
                    theirs = head_detector.compute_head_attention_similarity_score(
                        shares[0, head],
                        detection_pattern=detect(tokens),
                        exclude_bos=False,
                        exclude_current_token=False,
                        error_measure="mul",
                    )
                    ours = (sums[name][head].sum() / sums["all"][head].sum()).item()
                    assert ours == pytest.approx(theirs, abs=1e-9)
                    largest[name] = max(largest[name], ours)
    assert largest["previous"] > 0.5 and largest["prefix"] > 0.5  # there was something to compare
