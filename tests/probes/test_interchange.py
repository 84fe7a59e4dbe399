import pytest
import torch

from mesascope.models import LinearRegression, descend_on_weights
from mesascope.probes import PatternInterchange, Site, run_from
from tests.analyses.conftest import decoder

D = torch.float64


def correlated(n=2000, d=6, seed=0):
    rng = torch.Generator().manual_seed(seed)
    mix = torch.randn(d, d, generator=rng, dtype=D)
    return torch.randn(n, d, generator=rng, dtype=D) @ mix


def readouts(seed=1, d=6):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(d, 2, generator=rng, dtype=D), torch.randn(d, 3, generator=rng, dtype=D)


def test_a_site_writes_what_it_reads_and_leaves_the_rest():
    resid = torch.randn(3, 5, 2)
    site, other = Site("two", (1, 4)), torch.randn(3, 4)
    changed = site.write(resid, other)
    assert torch.equal(site.read(changed), other)
    assert torch.equal(changed[:, [0, 2, 3]], resid[:, [0, 2, 3]])
    assert torch.equal(site.write(resid, site.read(resid)), resid)


def test_the_interchange_sets_the_readings_to_the_sources_and_holds_the_others():
    h, (W, held) = correlated(), readouts()
    base, source = h[:50], h[50:100]
    moved = PatternInterchange.of(W, h.T.cov(), held)(base, source)
    torch.testing.assert_close(moved @ W, source @ W)
    torch.testing.assert_close(moved @ held, base @ held)


def test_alone_it_moves_as_activations_vary_with_the_readings():
    """The change is what least squares predicts of h from its readings."""
    h, (W, _) = correlated(), readouts()
    h = h - h.mean(0)
    pattern = torch.linalg.lstsq(h @ W, h).solution
    base, source = h[:50], h[50:100]
    torch.testing.assert_close(PatternInterchange.of(W, h.T.cov())(base, source), base + (source - base) @ W @ pattern)


def test_along_the_pattern_of_white_activations_it_is_the_least_change():
    from transformer_lens.tools.analysis.interchange import SubspaceInterchange

    W, _ = readouts()
    base, source = correlated(100).split(50)
    least = SubspaceInterchange(torch.linalg.qr(W)[0])(base, source)
    torch.testing.assert_close(PatternInterchange.of(W, torch.eye(6, dtype=D))(base, source), least)


def test_the_units_of_held_readings_do_not_matter():
    h, (W, held) = correlated(), readouts()
    one, other = (PatternInterchange.of(W, h.T.cov(), factor * held) for factor in (1.0, 1e6))
    torch.testing.assert_close(one(h[:9], h[9:18]), other(h[:9], h[9:18]))
    assert one.own == pytest.approx(other.own)


def test_own_is_what_held_readings_leave_of_the_variance():
    """Of one reading it is 1 − R² of its regression on the held ones."""
    h, (W, held) = correlated(), readouts()
    h = h - h.mean(0)
    target = h @ W[:, :1]
    left = target - h @ held @ torch.linalg.lstsq(h @ held, target).solution
    own = PatternInterchange.of(W[:, :1], h.T.cov(), held).own
    assert own == pytest.approx(float(left.square().sum() / target.square().sum()))


@pytest.mark.parametrize("held, own", [(None, 1.0), ("itself", 0.0)])
def test_a_reading_is_all_its_own_alone_and_nothing_beside_itself(held, own):
    W, h = readouts()[0], correlated()
    assert PatternInterchange.of(W, h.T.cov(), None if held is None else W).own == pytest.approx(own, abs=1e-9)


def test_a_readout_of_nothing_moves_nothing():
    h = correlated(20)
    interchange = PatternInterchange.of(torch.zeros(6, 2, dtype=D), h.T.cov())
    assert torch.equal(interchange(h[:10], h[10:]), h[:10])


@pytest.mark.parametrize("stage", range(3))
def test_a_run_continued_from_its_own_stream_ends_as_it_did(stage):
    model = decoder()
    prompts = LinearRegression(n_dims=3, n_points=8).sample(4, seed=0)
    preds, cache = model.run_with_cache(prompts.xs, prompts.ys)
    resid = cache["blocks.0.hook_resid_pre"] if stage == 0 else cache[f"blocks.{stage - 1}.hook_resid_post"]
    torch.testing.assert_close(run_from(model, resid, stage, 8), preds)


def test_whole_scratch_tokens_carry_the_context():
    """With all scratch tokens of another prompt, the construction predicts that prompt's w times this one's query."""
    model = descend_on_weights(3, 9, [0.4, 0.3], dtype=D)
    task = LinearRegression(n_dims=3, n_points=9)
    base, source = (task.sample(5, seed=seed, dtype=D) for seed in (0, 1))
    hook, site = "blocks.2.hook_resid_post", Site("scratch", (0, 1, 2))
    mine, theirs = (model.run_with_cache(p.xs, p.ys)[1][hook] for p in (base, source))
    preds = run_from(model, site.write(mine, site.read(theirs)), 3, 9)[:, 0]
    w = theirs[:, :3, model.cfg.d_model - 2]
    torch.testing.assert_close(preds, (base.xs[:, -1] * w).sum(-1))


def test_a_placebo_goes_as_far_towards_the_source_by_what_the_interchange_leaves():
    h, (W, held) = correlated(d=9), readouts(d=9)
    base, source = h[:50], h[50:100]
    interchange = PatternInterchange.of(W, h.T.cov(), held)
    moved, change = interchange.placebo(base, source) - base, interchange(base, source) - base
    torch.testing.assert_close(moved.norm(dim=1), change.norm(dim=1))
    assert (moved @ W).abs().max() < 1e-9
    torch.testing.assert_close(torch.cosine_similarity(moved, source - base - change), torch.ones(50, dtype=D))


def test_a_placebo_of_a_pair_does_not_depend_on_the_pairs_beside_it():
    h, (W, _) = correlated(), readouts()
    interchange, size = PatternInterchange.of(W, h.T.cov()), torch.logspace(-9, 0, 20, dtype=D)[:, None]
    base, source = size * h[:20], size * h[20:40]
    together, by_itself = interchange.placebo(base, source), interchange.placebo(base[:1], source[:1])
    torch.testing.assert_close(together[:1] - base[:1], by_itself - base[:1], rtol=1e-6, atol=0.0)
    assert (by_itself != base[:1]).any()


def test_where_nothing_else_varies_a_placebo_does_not_move():
    W, pattern = torch.randn(6, 1, dtype=D), torch.randn(1, 6, dtype=D)
    h = torch.randn(200, 1, dtype=D) @ pattern
    base, source = h[:20], h[20:40]
    assert torch.equal(PatternInterchange.of(W, h.T.cov()).placebo(base, source), base)
