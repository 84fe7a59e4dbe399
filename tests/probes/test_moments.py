import pytest
import torch

from mesascope.probes import LinearReadout, Moments


@pytest.fixture
def data() -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    # Off-centre on purpose: mean 100 exercises the centring, which costs 2 log10(100) = 4 of 16 digits.
    resid = 100 + torch.randn(1200, 6, generator=rng, dtype=torch.float64)
    y = resid[:, :2] - 3 * resid[:, 2:4] + 0.1 * torch.randn(1200, 2, generator=rng, dtype=torch.float64)
    return resid, y


@pytest.mark.parametrize("size", [1, 7, 128, 1024, 1025, 1200])
def test_streamed_moments_equal_one_pass(data, size):
    resid, y = data
    streamed = Moments.zeros(6, 2)
    for h, t in zip(resid.split(size), y.split(size), strict=True):
        streamed.update(h, t)
    torch.testing.assert_close(streamed.products, Moments.of(resid, y).products, rtol=1e-12, atol=0)
    torch.testing.assert_close(
        LinearReadout().fit_moments(streamed).coef_, LinearReadout().fit(resid, y).coef_, rtol=1e-8, atol=1e-8
    )


def test_centred_moments_equal_those_of_centred_data(data):
    resid, y = data
    h, t = resid - resid.mean(0), y - y.mean(0)
    moments = Moments.of(resid, y)
    assert moments.n == 1200
    torch.testing.assert_close(moments.means, torch.cat([resid, y], dim=1).mean(0))
    # 1200 · 100² · 2^-52 = 3e-9 is what centring may cost.
    torch.testing.assert_close(moments.S_hh, h.T @ h, atol=1e-7, rtol=0)
    torch.testing.assert_close(moments.S_hy, h.T @ t, atol=1e-7, rtol=0)
    torch.testing.assert_close(moments.total, t.square().sum(0), atol=1e-6, rtol=0)


def test_two_workers_moments_add_up_to_one(data):
    resid, y = data
    ours, theirs = Moments.of(resid[:500], y[:500]), Moments.of(resid[500:], y[500:])
    whole = Moments.of(resid, y)
    torch.testing.assert_close((ours + theirs).products, whole.products, rtol=1e-12, atol=0)
    torch.testing.assert_close((whole - theirs).products, ours.products, rtol=1e-10, atol=0)
    assert (ours + theirs).d_h == (whole - theirs).d_h == 6


def test_adding_leaves_both_summands_as_they_were(data):
    resid, y = data
    ours, theirs = Moments.of(resid[:500], y[:500]), Moments.of(resid[500:], y[500:])
    before = ours.products.clone()
    _ = ours + theirs
    assert torch.equal(ours.products, before)


def test_groups_are_kept_apart(data):
    resid, y = data
    grouped = Moments.of(resid.view(3, 4, 100, 6), y.view(3, 4, 100, 2))
    assert grouped.products.shape == (3, 4, 9, 9)
    assert (grouped.n == 100).all()
    one = Moments.of(resid.view(3, 4, 100, 6)[2, 1], y.view(3, 4, 100, 2)[2, 1])
    torch.testing.assert_close(grouped[2][1].products, one.products)
    torch.testing.assert_close(grouped.S_hy[2, 1], one.S_hy)
    torch.testing.assert_close(grouped.total[2, 1], one.total)


@pytest.mark.parametrize("dim", [0, 1, (0, 1)])
def test_summing_over_groups_merges_them(data, dim):
    resid, y = data
    grouped = Moments.of(resid.view(3, 4, 100, 6), y.view(3, 4, 100, 2))
    merged = grouped.sum(dim)
    torch.testing.assert_close(merged.products, grouped.products.sum(dim))
    whole = merged if dim == (0, 1) else merged.sum(0)
    torch.testing.assert_close(whole.products, Moments.of(resid, y).products, rtol=1e-12, atol=0)


def test_a_block_is_a_view_that_can_be_filled(data):
    resid, y = data
    blocks = Moments.zeros(6, 2, (3,))
    blocks[1].update(resid, y)
    assert blocks.n.tolist() == [0, 1200, 0]
    torch.testing.assert_close(blocks[1].products, Moments.of(resid, y).products)
    torch.testing.assert_close(blocks[1:].products[0], blocks[1].products)


def test_float32_activations_accumulate_in_float64():
    # In float32 the sum of squares of 1 + 2^24 ones and of 2^12 is stuck at 2^24.
    resid = torch.ones(5, 1)
    resid[0] = 2.0**12
    moments = Moments.of(resid, torch.zeros(5, 1))
    assert moments.products.dtype == torch.float64
    assert moments.products[0, 0].item() == 2**24 + 4


def test_squared_error_equals_the_residuals(data):
    resid, y = data
    coef, intercept = torch.randn(6, 2).double(), torch.randn(2).double()
    direct = (y - resid @ coef - intercept).square().sum(0)
    torch.testing.assert_close(Moments.of(resid, y).squared_error(coef, intercept), direct, rtol=1e-9, atol=0)
    grouped = Moments.of(resid.view(3, 400, 6), y.view(3, 400, 2)).squared_error(coef, intercept)
    torch.testing.assert_close(grouped.sum(0), direct, rtol=1e-9, atol=0)


def test_squared_error_is_never_negative():
    # An exact readout of off-centre data: rounding alone would put several of these 20 sums below zero.
    rng = torch.Generator().manual_seed(0)
    resid = 100 + torch.randn(500, 8, generator=rng, dtype=torch.float64)
    coef = torch.randn(8, 20, generator=rng, dtype=torch.float64)
    assert (Moments.of(resid, resid @ coef).squared_error(coef, torch.zeros(20).double()) >= 0).all()


def test_memory_does_not_grow_with_the_number_of_rows(data):
    resid, y = data
    assert Moments.of(resid[:10], y[:10]).products.shape == Moments.of(resid, y).products.shape == (9, 9)


@pytest.mark.parametrize("shapes", [((10, 5), (10, 2)), ((10, 6), (10, 3)), ((2, 10, 6), (2, 10, 2))])
def test_another_width_or_group_is_refused(shapes):
    resid, y = (torch.zeros(*shape) for shape in shapes)
    with pytest.raises(ValueError, match=r"do not fit moments of groups \(\), d_h=6, d_y=2; capture the same layer"):
        Moments.zeros(6, 2).update(resid, y)


def test_batches_of_different_length_are_refused(unchecked_shapes):
    with pytest.raises(ValueError, match=r"resid \(10, 6\) and y \(9, 2\) do not fit"):
        Moments.zeros(6, 2).update(torch.zeros(10, 6), torch.zeros(9, 2))


def test_a_refused_batch_changes_nothing(data):
    moments = Moments.of(*data)
    before = moments.products.clone()
    with pytest.raises(ValueError, match="do not fit"):
        moments.update(torch.ones(3, 5), torch.ones(3, 2))
    assert torch.equal(moments.products, before)
