import pytest
import torch

from mesascope.analyses import attach
from mesascope.analyses.curvature.members import find_members, member_hooks, zeroing_hook
from mesascope.analyses.matching import match_weights
from mesascope.analyses.matching.matching import own_bases
from mesascope.models import GradientDescentPlusPlus, HookedRegressor, Prompts, regauge
from tests.analyses.curvature.planted import ETAS, GAMMAS, LEARNER, TASK, planted, tied

W0 = torch.tensor([0.5, -1.0, 0.25, 2.0], dtype=torch.float64)


def members_of(scope):
    bases = own_bases(scope)
    return find_members(scope.hooked, bases, dict(zip(bases, match_weights(scope).layers, strict=True)))


def predict(scope, hooks, prompts):
    with torch.no_grad(), scope.hooked.hooks(fwd_hooks=hooks):
        return scope.hooked(prompts.xs, prompts.ys)


SPECIMENS = {
    "plain": planted(),
    "regauged": attach(regauge(planted().hooked, seed=1), task=TASK),
    "started elsewhere": planted(w0=W0),
    "tied": tied(1.5, 0.4),
    "plain descent": planted(gammas=(0.0, 0.0, 0.0)),
}


@pytest.mark.parametrize("name", SPECIMENS)
def test_the_members_of_an_exact_model_are_the_model(name):
    scope = SPECIMENS[name]
    prompts = scope.prompts(20, "members")
    exact = scope.hooked(prompts.xs, prompts.ys)
    torch.testing.assert_close(predict(scope, member_hooks(scope.hooked, members_of(scope)), prompts), exact.detach())


@pytest.mark.parametrize("name", SPECIMENS)
@pytest.mark.parametrize("layer", [0, 1])
def test_an_exact_model_without_its_update_is_its_member_without_gamma(name, layer):
    scope = SPECIMENS[name]
    prompts, members = scope.prompts(20, "members"), members_of(scope)
    zeroed = predict(scope, zeroing_hook(layer, members[layer].basis), prompts)
    without = predict(scope, member_hooks(scope.hooked, members, without=layer), prompts)
    torch.testing.assert_close(zeroed, without)


@pytest.mark.parametrize("layer", [0, 1])
def test_a_member_without_gamma_predicts_as_the_learner_without_it(layer):
    scope = planted()
    prompts = scope.prompts(20, "members")
    gammas = [0.0 if index == layer else gamma for index, gamma in enumerate(GAMMAS)]
    found = predict(scope, member_hooks(scope.hooked, members_of(scope), without=layer), prompts)
    torch.testing.assert_close(found, GradientDescentPlusPlus(ETAS, tuple(gammas)).predict(prompts)[:, -1:])


def test_a_member_from_w0_predicts_as_the_learner_on_what_w0_leaves():
    scope = planted(w0=W0)
    prompts = scope.prompts(20, "members")
    left = Prompts(prompts.xs, prompts.ys - prompts.xs @ W0)
    exact = LEARNER.predict(left)[:, -1:] + prompts.xs[:, -1:] @ W0
    found = predict(scope, member_hooks(scope.hooked, members_of(scope)), prompts)
    torch.testing.assert_close(found, exact)


@pytest.mark.parametrize("changes", [{"damping": 0.5}, {"query_is_key": True}, {"causal": True}])
def test_damping_and_masks_are_those_of_the_model(changes):
    plain = planted().hooked
    model = HookedRegressor(plain.cfg.model_copy(update=changes)).double()
    model.load_state_dict(plain.state_dict())
    scope = attach(model, task=TASK)
    prompts = scope.prompts(20, "members")
    found = predict(scope, member_hooks(model, members_of(scope)), prompts)
    torch.testing.assert_close(found, model(prompts.xs, prompts.ys).detach())


def test_a_member_reads_what_is_behind_the_norm():
    plain = planted().hooked
    model = HookedRegressor(plain.cfg.model_copy(update={"layer_norm": True})).double()
    model.load_state_dict(plain.state_dict(), strict=False)
    scope = attach(model, task=TASK)
    prompts = scope.prompts(20, "members")
    found = predict(scope, member_hooks(model, members_of(scope)), prompts)
    torch.testing.assert_close(found, model(prompts.xs, prompts.ys).detach())


def test_a_layer_without_weights_has_a_member_that_adds_nothing():
    scope = planted(etas=(0.0, 1.0, 1.0), gammas=(0.0, 0.0, 0.0))
    members = members_of(scope)
    assert members[0].nearest is None
    prompts = scope.prompts(20, "members")
    exact = scope.hooked(prompts.xs, prompts.ys)
    torch.testing.assert_close(predict(scope, member_hooks(scope.hooked, members), prompts), exact.detach())
