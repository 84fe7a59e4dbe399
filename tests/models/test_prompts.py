import torch

from mesascope.models import LinearRegression, Prompts


def some(n_prompts=10, **fields):
    return LinearRegression(n_dims=3, n_points=6, **fields).sample(n_prompts, seed=0)


def test_splitting_and_concatenating_gives_the_same_prompts_back():
    prompts = some(10)
    parts = list(prompts.split(4))
    assert [len(part) for part in parts] == [4, 4, 2]
    joined = Prompts.concat(parts)
    for name in ("xs", "ys", "w"):
        torch.testing.assert_close(getattr(joined, name), getattr(prompts, name), rtol=0, atol=0)


def test_a_concatenation_knows_w_only_if_every_part_does():
    prompts = some(4)
    without = Prompts(prompts.xs, prompts.ys)
    assert Prompts.concat([prompts, without]).w is None
    assert Prompts.concat([prompts, prompts]).w is not None


def test_indexing_takes_the_same_prompts_of_every_field():
    prompts = some(5)
    index = torch.tensor([3, 0])
    picked = prompts[index]
    assert prompts.w is not None and picked.w is not None
    assert torch.equal(picked.xs, prompts.xs[index])
    assert torch.equal(picked.ys, prompts.ys[index])
    assert torch.equal(picked.w, prompts.w[index])
    assert Prompts(prompts.xs, prompts.ys)[1:3].w is None


def test_sizes_are_those_of_xs():
    prompts = some(7)
    assert (len(prompts), prompts.n_points, prompts.n_dims) == (7, 6, 3)


def test_casting_casts_every_field():
    prompts = some(2).to(torch.float64)
    assert prompts.w is not None
    assert {prompts.xs.dtype, prompts.ys.dtype, prompts.w.dtype} == {torch.float64}
    assert Prompts(prompts.xs, prompts.ys).to("cpu").w is None


def test_the_decomposition_is_computed_once_and_belongs_to_these_prompts_alone():
    prompts = some(4)
    assert prompts.decomposition is prompts.decomposition
    torch.testing.assert_close(prompts[1:3].decomposition.eigenvalues, prompts.decomposition.eigenvalues[1:3])


def test_prompts_are_a_line():
    prompts = LinearRegression(n_dims=3, n_points=8).sample(64, seed=0, dtype=torch.float64)
    assert repr(prompts) == "<Prompts: 64 of 8 points in 3 dimensions, float64 on cpu>"
