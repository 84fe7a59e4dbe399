import pytest
import torch
from pydantic import TypeAdapter

from mesascope.models import LinearRegression, MesascopeError
from mesascope.models.inputs import (
    Gaussian,
    Inputs,
    Mixture,
    OneHot,
    OppositeQuadrants,
    OrthogonalQuery,
    OverlappingQuery,
    RandomQuadrants,
    Uniform,
    describe_inputs,
    random_bases,
)
from mesascope.models.spectra import Fixed, Geometric, HalfSubspace, LogUniform, TwoLevel
from mesascope.models.streams import generator


def test_random_bases_are_orthogonal():
    bases = random_bases(20, 5, generator(0))
    torch.testing.assert_close(bases @ bases.mT, torch.eye(5, dtype=torch.float64).expand(20, 5, 5))


def test_random_bases_are_haar_distributed():
    """Under Haar's law E Q = 0 and E Q_ij² = 1/d for every entry; plain QR has a diagonal of one sign."""
    n, d = 20_000, 3
    bases = random_bases(n, d, generator(0))
    assert bases.mean(0).abs().max() < 5 * (1 / d / n) ** 0.5
    assert (bases.square().mean(0) - 1 / d).abs().max() < 5 * (1 / n) ** 0.5
    assert 0.45 < (torch.linalg.det(bases) > 0).double().mean() < 0.55
    plain = torch.linalg.qr(torch.randn(n, d, d, generator=generator(0), dtype=torch.float64)).Q
    assert plain.mean(0).abs().max() > 0.1  # the control: this is what the sign repair is for


@pytest.mark.parametrize(
    "inputs",
    [
        Gaussian(),
        Gaussian(spectrum=LogUniform(kappa=30)),
        Uniform(),
        Uniform(half_width=0.5),
        Mixture(components=(Gaussian(), Uniform(half_width=0.5))),
    ],
    ids=repr,
)
def test_mean_square_is_the_variance_of_a_coordinate(inputs):
    xs = inputs.sample(4000, 5, 4, generator(0))
    assert xs.shape == (4000, 5, 4) and xs.dtype == torch.float64
    per_prompt = xs.square().mean((1, 2))
    standard_error = per_prompt.std() / 4000**0.5
    assert abs(per_prompt.mean() - inputs.mean_square) < 4 * standard_error
    assert xs.mean((0, 1)).abs().max() < 0.05  # 20,000 draws of variance at most 1: seven standard errors


def test_uniform_inputs_fill_their_cube():
    xs = Uniform(half_width=0.5).sample(500, 4, 3, generator(0))
    assert 0.49 < xs.max() <= 0.5 and -0.5 <= xs.min() < -0.49


def test_every_prompt_has_the_given_spectrum_in_a_basis_of_its_own():
    spectrum = Fixed(eigenvalues=(8.0, 1.0, 1.0))
    xs = Gaussian(spectrum=spectrum).sample(3, 20_000, 3, generator(0))
    covariances = xs.mT @ xs / 20_000
    eigenvalues, vectors = torch.linalg.eigh(covariances)
    expected = torch.tensor([0.3, 0.3, 2.4], dtype=torch.float64).expand(3, 3)
    torch.testing.assert_close(eigenvalues, expected, rtol=0.05, atol=0)  # 20,000 points: 1% each, 5σ
    top = vectors[..., -1]
    overlaps = (top @ top.T).abs()[~torch.eye(3, dtype=torch.bool)]
    assert overlaps.max() < 0.99  # no two prompts share the top direction


def test_isotropic_inputs_need_no_basis_and_are_plain_normal_numbers():
    expected = torch.randn(2, 3, 4, generator=generator(0), dtype=torch.float64)
    assert torch.equal(Gaussian().sample(2, 3, 4, generator(0)), expected)


def test_a_mixture_takes_each_component_equally_often_and_whole_prompts_at_a_time():
    mixture = Mixture(components=(Gaussian(), Uniform(half_width=1e-3)))
    xs = mixture.sample(2000, 4, 3, generator(0))
    small = xs.abs().amax((1, 2)) <= 1e-3
    assert abs(small.double().mean() - 0.5) < 4 * 0.5 / 2000**0.5
    big = xs[~small].square().sum(-1)
    assert (big > 1e-5).all()  # no tiny point inside a Gaussian prompt


def test_a_mixture_of_one_is_refused():
    with pytest.raises(ValueError, match="at least 2 items"):
        Mixture(components=(Gaussian(),))


def test_inputs_are_described_by_kind_spectrum_and_scalars():
    wide = Gaussian(spectrum=LogUniform(kappa=30))
    assert describe_inputs(Gaussian()) == "gaussian isotropic"
    assert describe_inputs(Gaussian(spectrum=TwoLevel())) == "gaussian two_level(ratio=100)"
    assert describe_inputs(Gaussian(spectrum=Fixed(eigenvalues=(1, 2)))) == "gaussian fixed(eigenvalues=(1.0, 2.0))"
    described = describe_inputs(Mixture(components=(wide, Uniform(half_width=0.5))))
    assert described == "gaussian log_uniform(kappa=30) | uniform(half_width=0.5)"


QUERIES = [RandomQuadrants, OppositeQuadrants, OrthogonalQuery, OverlappingQuery]
BASES = [Gaussian(), Gaussian(spectrum=TwoLevel(), scale=2.0), Uniform(half_width=0.5)]
every_query = pytest.mark.parametrize("kind", QUERIES)


@every_query
@pytest.mark.parametrize("base", BASES, ids=repr)
def test_every_point_of_a_query_suite_keeps_the_length_of_its_base(kind, base):
    """And with it E y² = d · mean_square · w_std² of linear regression, at the query as at the context."""
    inputs = kind(base=base)
    task = LinearRegression(n_dims=6, n_points=5, inputs=inputs, w_std=0.7)
    prompts = task.sample(4000, seed=0, dtype=torch.float64)
    assert inputs.mean_square == base.mean_square
    lengths, squares = prompts.xs.square().sum(-1), prompts.ys.square()
    for t in (0, 3, 4):
        for seen, expected in ((lengths[:, t], 6 * base.mean_square), (squares[:, t], task.null_loss)):
            assert abs(seen.mean() - expected) < 4 * seen.std() / 4000**0.5


@every_query
def test_without_context_the_query_is_as_its_base_draws_it(kind):
    drawn = kind(base=Uniform()).sample(50, 1, 3, generator(0))
    assert torch.equal(drawn, Uniform().sample(50, 1, 3, generator(0)))


def orthants(xs):
    return (xs > 0).long() @ (2 ** torch.arange(xs.shape[-1]))


def test_in_random_quadrants_the_context_shares_an_orthant_and_the_query_does_not_care():
    xs = RandomQuadrants().sample(4000, 6, 3, generator(0))
    patterns = orthants(xs)
    assert (patterns[:, :-1] == patterns[:, :1]).all()
    assert (torch.bincount(patterns[:, 0], minlength=8) - 500).abs().max() < 4 * (4000 / 8 * 7 / 8) ** 0.5
    same = (patterns[:, -1] == patterns[:, 0]).double().mean()
    assert abs(same - 1 / 8) < 4 * (1 / 8 * 7 / 8 / 4000) ** 0.5


def test_in_opposite_quadrants_no_coordinate_of_the_query_has_the_sign_of_the_context():
    xs = OppositeQuadrants().sample(500, 6, 3, generator(0))
    assert (orthants(xs[:, :-1]) == orthants(xs[:, :1])).all()
    assert (xs[:, :-1] * xs[:, -1:] < 0).all()
    assert orthants(xs[:, 0]).unique().numel() == 8


@pytest.mark.parametrize("n_points", [2, 5, 6])
@pytest.mark.parametrize("base", BASES, ids=repr)
def test_an_orthogonal_query_has_no_part_in_the_span_of_the_context(n_points, base):
    xs = OrthogonalQuery(base=base).sample(200, n_points, 6, generator(0))
    lengths = xs.norm(dim=-1)
    cosines = (xs[:, :-1] @ xs[:, -1:].mT)[..., 0] / (lengths[:, :-1] * lengths[:, -1:])
    assert cosines.abs().max() < 1e-12
    drawn = base.sample(200, n_points, 6, generator(0))
    assert torch.equal(xs[:, :-1], drawn[:, :-1])
    torch.testing.assert_close(lengths[:, -1], drawn[:, -1].norm(dim=-1))
    plain = (drawn[:, :-1] @ drawn[:, -1:].mT).abs().amin(1)
    assert plain.median() > 1e-3  # the control: independent points are not orthogonal


@pytest.mark.parametrize("n_points", [7, 20])
def test_a_context_that_leaves_nothing_orthogonal_is_refused(n_points):
    with pytest.raises(MesascopeError, match=f"{n_points - 1} points of context span all .*take n_points <= n_dims"):
        OrthogonalQuery().sample(3, n_points, 6, generator(0))


def test_in_a_subspace_fewer_points_leave_nothing_orthogonal():
    inputs = OrthogonalQuery(base=Gaussian(spectrum=HalfSubspace()))
    xs = inputs.sample(100, 3, 6, generator(0))  # rank 3, context 2
    assert (xs[:, :-1] @ xs[:, -1:].mT).abs().max() < 1e-12
    assert (torch.linalg.matrix_rank(xs) == 3).all()
    with pytest.raises(MesascopeError, match="3 points of context .* rank of the inputs' spectrum"):
        inputs.sample(100, 4, 6, generator(0))


def test_an_overlapping_query_is_each_point_of_the_context_equally_often():
    xs = OverlappingQuery().sample(3000, 4, 5, generator(0))
    same = (xs[:, :-1] == xs[:, -1:]).all(-1)
    assert (same.sum(1) == 1).all()
    assert (same.double().mean(0) - 1 / 3).abs().max() < 4 * (2 / 9 / 3000) ** 0.5


@every_query
def test_points_that_depend_on_each_other_have_no_covariance(kind):
    with pytest.raises(MesascopeError, match=f"{kind.model_fields['kind'].default} of gaussian isotropic .*its base"):
        kind().covariance(3)


def test_one_hot_inputs_are_each_basis_vector_equally_often():
    inputs = OneHot(n_dims=4)
    xs = inputs.sample(3000, 2, 4, generator(0))
    assert xs.dtype == torch.float64 and (xs.sum(-1) == 1).all() and (xs.amax(-1) == 1).all()
    assert (xs.mean((0, 1)) - inputs.mean_square).abs().max() < 4 * (1 / 4 * 3 / 4 / 6000) ** 0.5
    assert inputs.mean_square == 1 / 4
    torch.testing.assert_close(inputs.covariance(4), torch.eye(4, dtype=torch.float64) / 4)


@pytest.mark.parametrize("use", [lambda i: i.sample(2, 2, 5, generator(0)), lambda i: i.covariance(5)])
def test_one_hot_inputs_of_another_dimension_are_refused(use):
    with pytest.raises(MesascopeError, match="one_hot inputs have n_dims=4 but the task has n_dims=5"):
        use(OneHot(n_dims=4))


def test_all_inputs_survive_json_and_queries_and_tokens_have_names():
    wide = Gaussian(spectrum=Geometric(kappa=9), basis="axes", scale=2.0)
    described: dict[str, Inputs] = {
        "random_quadrants of gaussian isotropic": RandomQuadrants(),
        "opposite_quadrants of uniform(half_width=0.5)": OppositeQuadrants(base=Uniform(half_width=0.5)),
        "orthogonal_query of " + describe_inputs(wide): OrthogonalQuery(base=wide),
        "overlapping_query of gaussian isotropic": OverlappingQuery(),
        "one_hot(n_dims=3)": OneHot(n_dims=3),
    }
    adapter = TypeAdapter(Inputs)
    for name, inputs in described.items():
        assert describe_inputs(inputs) == name
        assert adapter.validate_json(adapter.dump_json(inputs)) == inputs


@pytest.mark.parametrize("base", [{"kind": "one_hot", "n_dims": 3}, {"kind": "overlapping_query"}])
def test_a_query_relates_to_gaussian_or_uniform_points_only(base):
    with pytest.raises(ValueError, match="'gaussian', 'uniform'"):
        TypeAdapter(Inputs).validate_python({"kind": "random_quadrants", "base": base})
