import json
from dataclasses import replace

import pytest
import torch

from mesascope.analyses import Scope, attach
from mesascope.analyses.induction import find_induction, holds_heads
from mesascope.analyses.induction import induction as analysis
from mesascope.analyses.induction.attention import read_attention
from mesascope.analyses.induction.discrete import read_discrete
from mesascope.analyses.induction.selftest import with_idle_heads
from mesascope.models import (
    HookedRegressor,
    LeastSquares,
    LinearRegression,
    MesascopeError,
    RegressorConfig,
    RepeatedSequence,
    copy_then_descend,
    gradient_descent,
    induction,
    optimal_step,
    regauge,
)
from mesascope.models.tasks import AssociativeRecall
from tests.analyses.induction.conftest import TASK
from tests.models.families import FAMILIES, changed, task_of


def quick(scope, **given):
    """A result on few prompts."""
    return find_induction(scope, **({"n_prompts": 40, "n_scored": 40} | given))


def test_a_planted_copy_feeds_the_planted_step_as_key(copied):
    assert copied.verdict == "induction circuit: copy head L1H0 feeds query head L2H0"
    by_use = {path.knockout.uses: path.factor.value for path in copied.losses.paths}
    assert by_use[("k",)] == pytest.approx(by_use[("q", "k", "v")]) and by_use[("k",)] > 1.5
    assert by_use[("q",)] == pytest.approx(1) == by_use[("v",)]
    copier, asker = copied.heads
    assert copier.copy.score.value == pytest.approx(1) and copier.copy.form == "y to x"
    assert asker.towards("y").strength == pytest.approx(1) and asker.writes.value == pytest.approx(1)


def test_a_planted_induction_head_is_found_both_ways(discrete):
    assert discrete.verdict == "induction circuit: copy head L1H0 feeds query head L2H0"
    assert discrete.construction == "induction as 1 step of GD"
    copier, asker = discrete.discrete
    assert copier.previous.value == pytest.approx(1, abs=1e-4) and copier.one_back == pytest.approx(1, abs=1e-4)
    assert asker.prefix.value == pytest.approx(1, abs=1e-4)
    assert (asker.copying, asker.matching, asker.writing) == pytest.approx((1, 1, 1), abs=1e-4)
    assert discrete.heads[1].towards("y").strength == pytest.approx(1, abs=1e-4)


def test_tokens_that_hold_both_need_query_heads_only(stepped):
    assert stepped.verdict == "query heads only (tokens hold x and y)"
    (claim,) = [claim for claim in stepped.claims if claim.id == "induction.copy"]
    assert claim.verdict == "not needed: tokens hold x and y" and claim.value is None
    assert stepped.derivatives is None and stepped.heads[0].copy is None
    assert stepped.heads[0].query.strength == pytest.approx(1)


@pytest.mark.parametrize("family", ["decoder", "separate", "lsa", "induction"])
def test_an_untrained_model_has_no_circuit_and_every_score(family):
    cfg = FAMILIES[family]
    found = quick(attach(HookedRegressor(cfg, 5), task=task_of(cfg)), weigh=False)
    assert found.verdict in ("no circuit", "undetermined") and not found.copy_heads
    ids = [claim.id for claim in found.claims]
    assert ids[:3] == ["induction.model", "induction.copy", "induction.query"]
    assert f"induction.layer{cfg.n_layers}.head{cfg.n_heads - 1}" in ids and len(ids) == len(set(ids))
    (query,) = [claim for claim in found.claims if claim.id == "induction.query"]
    (low, high), value = query.ci or (1.0, 0.0), query.value or 0.0
    assert low <= value <= high and (query.null or 0.0) > 0


def test_models_with_heads_are_all_but_lstms():
    for family, cfg in FAMILIES.items():
        assert holds_heads(attach(HookedRegressor(cfg), task=task_of(cfg))) is ("lstm" not in family)


@pytest.mark.parametrize("family", ["tied decoder", "relu", "scratch", "layer norm before slots"])
def test_architectures_of_every_kind_are_read_without_ablations(family):
    cfg = FAMILIES[family]
    found = quick(attach(HookedRegressor(cfg, 1), task=task_of(cfg)), ablate=False, weigh=False)
    assert found.verdict == "undetermined" and found.losses is None and found.composed == ()
    assert json.dumps(found.to_json(), allow_nan=False)


def test_the_numbers_are_all_in_the_data(copied, discrete):
    for found in (copied, discrete):
        data = json.loads(json.dumps(found.to_json(), allow_nan=False))["data"]
        assert [head["label"] for head in data["heads"]] == ["L1H0", "L2H0"]
        assert data["verdict"] == found.verdict and data["losses"]["effects"] and data["composition"]
        assert len(data["patterns"]) == 2 and len(data["patterns"][0]) == len(data["tokens"])
    assert discrete.data()["discrete"] and copied.data()["derivatives"]["previous"]["value"] > 0


def test_the_result_hangs_on_the_seed_and_on_nothing_else():
    scope = attach(gradient_descent(3, 15, [1.0]), task=TASK)
    one = quick(scope, weigh=False)
    again = quick(replace(scope), weigh=False)
    other = quick(scope, seed=1, weigh=False)
    assert one.to_json() == again.to_json() != other.to_json() and other.seed == 1
    assert quick(scope, weigh=False) is one


def test_no_gauge_of_the_heads_changes_a_reading():
    cfg = RegressorConfig(n_dims=3, n_points=8, n_layers=2, n_heads=1, d_model=12, d_head=6)
    task = LinearRegression(n_dims=3, n_points=8)
    model = HookedRegressor(cfg, 2).double()
    one, two = (read_attention(Scope(m, task, "x"), 40).heads for m in (model, regauge(model, 4)))
    for mine, theirs in zip(one, two, strict=True):
        assert mine.copying[0].score.value == pytest.approx(theirs.copying[0].score.value)
        assert mine.query.strength == pytest.approx(theirs.query.strength)


def test_a_rotation_of_x_changes_no_correlation_of_a_planted_step(stepped):
    turned = gradient_descent(3, 15, [optimal_step(TASK).eta])
    Q = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0)))[0]
    with torch.no_grad():
        for W in (turned.attentions[0].W_Q, turned.attentions[0].W_K):
            W[0, :3] = Q @ W[0, :3]
    found = find_induction(attach(turned, task=TASK), n_prompts=200, ablate=False)
    assert found.heads[0].query.strength == pytest.approx(stepped.heads[0].query.strength)


def test_behind_layers_without_attention_the_features_are_compared():
    cfg = FAMILIES["sine-gd"]
    found = quick(attach(HookedRegressor(cfg, 1), task=task_of(cfg)), ablate=False)
    assert found.heads[0].query.strength == pytest.approx(1, abs=1e-5)  # by its architecture
    assert found.query_verdicts["L2H0"] == "undetermined"  # and untrained ones do the same


def test_heads_that_nobody_reads_are_named_by_their_attention_and_not_in_the_circuit():
    model = with_idle_heads(copy_then_descend(3, 15, optimal_step(TASK).eta))
    found = find_induction(attach(model, task=TASK), n_prompts=200, n_scored=400, weigh=False)
    assert found.verdict == "induction circuit: copy head L1H0 feeds query head L2H0"
    assert found.copy_verdicts == {"L1H0": "copy head", "L1H1": "copy-like", "L2H0": "neither", "L2H1": "neither"}
    assert found.query_verdicts["L2H0"] == found.query_verdicts["L2H1"] == "query head"
    assert found.losses is not None
    idle = [found.losses.of("head", [place]) for place in ((0, 1), (1, 1))]
    assert [effect.factor.value for effect in idle if effect is not None] == [1, 1]
    assert found.circuit.fed == ("L2H0",) and "cannot" not in found.circuit.why


def test_a_head_whose_write_is_zero_is_no_copy_head_and_not_in_the_circuit():
    model = with_idle_heads(copy_then_descend(3, 15, optimal_step(TASK).eta))
    with torch.no_grad():
        for attention in model.attentions:
            attention.W_O[1] = 0.0
    found = find_induction(attach(model, task=TASK), n_prompts=200, n_scored=400, weigh=False)
    assert found.verdict == "induction circuit: copy head L1H0 feeds query head L2H0"


def test_even_attention_with_a_whisper_of_likeness_is_no_query_head():
    cfg = RegressorConfig.linear_self_attention(3, 15, 1).model_dump() | {"attention": "softmax"}
    model = HookedRegressor(RegressorConfig.model_validate(cfg)).double()
    (attention,) = model.attentions
    with torch.no_grad():
        attention.W_Q.zero_()[0, :3, :3] = torch.eye(3)
        attention.W_K.copy_(attention.W_Q)
    verdicts = {}
    for loudness in (1e-6, 0.3):
        with torch.no_grad():
            attention.W_K[0, :3, :3] = loudness * torch.eye(3)
        found = quick(attach(model, task=TASK), n_prompts=400, ablate=False, weigh=False)
        assert found.heads[0].query.strength > 0.9
        verdicts[loudness] = found.query_verdicts["L1H0"]
    assert verdicts == {1e-6: "neither", 0.3: "query head"}


def test_twins_are_read_once_for_all_models_that_share_them(monkeypatch):
    read: list[str] = []

    def count(scope, n_prompts):
        read.append(scope.source)
        return read_attention(scope, n_prompts)

    monkeypatch.setattr(analysis, "read_attention", count)
    one, two = (attach(gradient_descent(3, 15, [eta]), task=TASK) for eta in (1.0, 0.5))
    twins = one.untrained
    two.once(("untrained",), lambda: twins)
    found = [quick(scope, ablate=False, weigh=False) for scope in (one, two)]
    assert len(read) == 2 + len(twins) and found[0].nulls.query == found[1].nulls.query


@pytest.mark.parametrize(
    "fields, missing",
    [
        (dict(d_out=3), {"copying", "writing"}),  # logits of other tokens than those that are read
        (dict(positions="sinusoidal", d_position=2), {"one_back"}),
        (dict(positions="none", read_in="slots", d_model=4, d_head=4), {"one_back"}),
        (
            dict(positions="none", read_in="slots", read_out="slots", d_model=4, d_head=4, d_out=1, layer_norm=False),
            {"one_back", "copying", "writing"},
        ),
        ({}, set()),
    ],
)
def test_circuits_between_tokens_that_do_not_exist_have_no_number(fields, missing):
    model = HookedRegressor(changed(FAMILIES["induction"], **fields))
    task = RepeatedSequence(n_dims=4, n_points=6, period=3)
    first, second = (read_discrete(Scope(model, task, "x"), 40)[at] for at in (0, 2))
    names = {"copying", "matching", "writing", "one_back"}
    assert {name for name in names if getattr(second, name) is None} == missing
    assert {name for name in names if getattr(first, name) is None} == missing | {"matching"}
    assert json.dumps(first.data(), allow_nan=False)


def test_a_model_of_tokens_whose_predictions_are_none_is_read():
    model = HookedRegressor(changed(FAMILIES["induction"], d_out=1))
    found = quick(attach(model), ablate=False, weigh=False)
    assert found.discrete[2].copying is None and found.discrete[2].matching is not None
    assert found.figures() and json.dumps(found.to_json(), allow_nan=False)


def test_another_discrete_task_is_measured_on_repeated_tokens_too():
    task = AssociativeRecall(n_dims=16, n_points=15)
    scope = attach(induction(16, 15, 3.0), task=task)
    found = quick(scope, ablate=False, weigh=False)
    assert found.discrete[1].prefix.value == pytest.approx(1, abs=1e-4)


def test_a_model_without_attention_is_refused():
    cfg = FAMILIES["lstm"]
    with pytest.raises(MesascopeError, match="has no attention.*zoo:decoder-d5"):
        find_induction(attach(HookedRegressor(cfg), task=task_of(cfg)))


def test_a_bare_predictor_is_refused():
    scope = attach(LeastSquares())
    assert not holds_heads(scope)
    with pytest.raises(MesascopeError, match="no layers to probe"):
        find_induction(scope)


def test_a_task_of_one_point_is_refused():
    scope = attach(
        HookedRegressor(FAMILIES["decoder"]), task=LinearRegression(n_dims=FAMILIES["decoder"].n_dims, n_points=1)
    )
    assert not holds_heads(scope)
    with pytest.raises(MesascopeError, match="no point that others come before.*two points or more"):
        find_induction(scope)


@pytest.mark.parametrize("given", [dict(n_prompts=39), dict(n_scored=20)])
def test_too_few_prompts_are_refused(given):
    with pytest.raises(MesascopeError, match="at least 40"):
        find_induction(attach(gradient_descent(3, 15, [1.0]), task=TASK), **given)


def test_a_model_that_predicts_nan_is_refused():
    model = copy_then_descend(3, 15, 1.0)
    with torch.no_grad():
        model.attentions[1].out_weight.fill_(torch.nan)
    with pytest.raises(MesascopeError, match="NaN"):
        quick(attach(model, task=TASK), weigh=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["zoo:decoder-isotropic", "zoo:separate-tokens", "zoo:induction", "zoo:lsa-2"])
def test_trained_specimens_have_the_heads_that_they_are_known_for(name):
    found = find_induction(attach(name), weigh=False)
    if name == "zoo:lsa-2":
        assert found.verdict == "query heads only (tokens hold x and y)"
    else:
        assert found.verdict.startswith("induction circuit: copy head")
        assert max(score.value for score, _ in found.attention.unions.values()) >= 0.8
    assert max(head.query.strength for head in found.query_heads) >= 0.5
