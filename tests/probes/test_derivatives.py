import pytest
import torch

from mesascope.models import HookedRegressor, copy_then_descend
from mesascope.probes.derivatives import copy_derivatives, token_derivatives
from mesascope.probes.token_roles import TokenRoles
from tests.models.families import FAMILIES, prompts_of


@pytest.mark.parametrize("family", ["decoder", "separate", "induction", "damped and clipped"])
def test_the_norms_are_those_of_the_jacobian(family):
    cfg = FAMILIES[family]
    model, prompts = HookedRegressor(cfg, 1).double(), prompts_of(cfg, 2)
    tokens = cfg.tokens.tokens(prompts.xs, prompts.ys)
    found = token_derivatives(model, prompts)

    def behind(one):
        return model.blocks[0](model.embed(one[None]))[0]

    for prompt in range(2):
        jacobian = torch.autograd.functional.jacobian(behind, tokens[prompt])  # [t, d_model, s, d_token]
        torch.testing.assert_close(found[prompt], jacobian.square().sum((1, 3)).sqrt())


def test_a_later_layer_may_be_asked_for():
    model, prompts = HookedRegressor(FAMILIES["decoder"]), prompts_of(FAMILIES["decoder"], 1)
    assert not torch.allclose(token_derivatives(model, prompts), token_derivatives(model, prompts, layer=1))


def test_a_few_random_directions_leave_the_squared_norm_unbiased():
    model, prompts = HookedRegressor(FAMILIES["induction"], 2).double(), prompts_of(FAMILIES["induction"], 1)
    exact = token_derivatives(model, prompts).square()
    draws = [token_derivatives(model, prompts, n_directions=2, seed=seed).square() for seed in range(25)]
    mean = torch.stack(draws).mean(0)
    assert ((mean - exact).norm() / exact.norm()).item() < 0.2
    torch.testing.assert_close(token_derivatives(model, prompts, n_directions=99), exact.sqrt())


def test_behind_a_copy_ys_token_hangs_on_its_x_and_on_itself_alone():
    model = copy_then_descend(3, 6, 1.0, dtype=torch.float64)
    prompts = prompts_of(model.cfg.model_copy(update={"n_dims": 3}), 3)
    roles = TokenRoles.of(model.cfg.tokens, 6, 3)
    found = copy_derivatives(token_derivatives(model, prompts), roles)
    # A copy of x has the norm of the identity, √d; the token itself that of x and y.
    assert found.previous.tolist() == pytest.approx([3**0.5] * 3)
    assert found.itself.tolist() == pytest.approx([2.0] * 3, rel=0.1)  # the first token copies itself
    assert found.following.abs().max() < 1e-9


def test_the_neighbour_is_none_of_the_others_and_the_unseen_do_not_count():
    roles = TokenRoles.of(FAMILIES["decoder"].tokens, 2, 3)
    norms = torch.tensor([[1.0, 0, 0, 0], [7, 2, 0, 0], [3, 3, 1, 0], [5, 5, 9, 2]]).double()[None]
    found = copy_derivatives(norms, roles)
    assert [found.previous.item(), found.following.item(), found.itself.item()] == [8.0, 0.0, 1.5]
    assert found.others.item() == 4.0
