import json
import math
import shutil

import numpy as np
import pytest
import torch

from mesascope.analyses import Claim
from mesascope.analyses.development import Followed, development, trace_development
from mesascope.analyses.development.followed import FOLLOWED, choose
from mesascope.analyses.registry import ANALYSES
from mesascope.analyses.scope import Scope, attach
from mesascope.models import MesascopeError

from .conftest import STEPS, Counted, Weight, performance

BY_NAME = [str(step) for step in STEPS]


def test_the_loss_of_a_run_that_learns_changes_and_its_claims_say_when(tiny_run):
    found = trace_development(tiny_run, performance(), n_prompts=100)
    (series,) = found.series
    assert found.steps == series.steps == tuple(STEPS) and series.verdict == "changes"
    claim = found.claims[0]
    assert claim.id == f"development.change.{series.id}" and claim.verdict == "changes"
    assert claim.ci is not None and claim.value is not None and series.course is not None
    assert claim.ci[0] <= claim.value <= claim.ci[1] and set(claim.ci) <= set(STEPS)
    assert series.course.after < 0.5 < series.course.before
    assert found.headlines == found.claims[:1] and not found.warnings


def test_the_chance_of_noise_is_said_in_words_and_no_smaller_than_draws_can_tell(tiny_run):
    found = trace_development(tiny_run, {"loss": from_step(4), "weight": steady()})
    changes, stays = found.claims[0].text, found.claims[-1].text
    assert "the chance that noise alone does as much is 0.001 or less" in changes
    assert "is 0.001 or less" not in stays and "p =" not in changes + stays


def test_what_does_not_change_stays_at_the_level_of_all_checkpoints(tiny_run):
    found = trace_development(tiny_run, {"weight": steady()})
    assert found.claims[0].verdict == "no change" and "weight: norm stays at 1.5 " in found.claims[0].text


def test_a_run_whose_weights_stand_still_shows_no_change(copy_of_run):
    folder = copy_of_run()
    for step in STEPS[1:]:
        shutil.copy(folder / "checkpoints" / "step_0.safetensors", folder / "checkpoints" / f"step_{step}.safetensors")
    counted = Counted()
    found = trace_development(folder, performance() | counted.followed, n_prompts=100)
    assert [series.verdict for series in found.series] == ["no change", "no change"] and found.changing == ()
    assert all(claim.value is None and claim.verdict == "no change" for claim in found.claims)
    assert [figure.id for figure in found.figures()] == ["development-quantities"]


def test_what_has_no_number_is_not_followed(tiny_run):
    found = trace_development(tiny_run, Counted().followed)
    assert [series.id for series in found.series] == ["weight.norm"]


def test_a_killed_run_resumes_and_ends_with_the_same_numbers(tiny_run, tmp_path):
    killed = Counted(stop_at="8")
    with pytest.raises(KeyboardInterrupt):
        trace_development(tiny_run, killed.followed, out=tmp_path / "killed")
    assert killed.calls == ["0", "1", "2", "4"]
    resumed, whole = Counted(), Counted()
    after = trace_development(tiny_run, resumed.followed, out=tmp_path / "killed")
    never = trace_development(tiny_run, whole.followed, out=tmp_path / "whole")
    assert resumed.calls == ["8", "16", "32", "60"] and whole.calls == BY_NAME
    assert json.dumps(after.to_json()) == json.dumps(never.to_json())
    assert after.n_measured == 4 and never.n_measured == 8


def test_a_run_that_has_trained_on_costs_its_new_checkpoints(copy_of_run, tmp_path):
    early, later = copy_of_run(STEPS[:6], "early"), copy_of_run(None, "later")
    first, second = Counted(), Counted()
    trace_development(early, first.followed, out=tmp_path / "out")
    trace_development(later, second.followed, out=tmp_path / "out")
    assert first.calls == BY_NAME[:6] and second.calls == BY_NAME[6:]


@pytest.mark.parametrize(
    "other", [{"seed": 1}, {"n_prompts": 200}, {"w_std": 2.0}], ids=lambda other: next(iter(other))
)
def test_other_settings_are_measured_anew(tiny_run, tmp_path, other):
    first, second = Counted(), Counted()
    trace_development(tiny_run, first.followed, out=tmp_path)
    trace_development(tiny_run, second.followed, out=tmp_path, **other)
    assert second.calls == first.calls == BY_NAME


def test_without_a_folder_nothing_is_kept(tiny_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, second = Counted(), Counted()
    trace_development(tiny_run, first.followed)
    trace_development(tiny_run, second.followed)
    assert second.calls == BY_NAME and not list(tmp_path.iterdir())


def test_all_checkpoints_share_their_twins_and_those_are_a_checkpoints_own(tiny_run):
    seen: list[tuple[Scope, ...]] = []
    own: list[float] = []

    def look(scope: Scope, n_prompts: int) -> Weight:
        seen.append(scope.untrained)
        own.append(float(Scope(scope.model, scope.task, "alone").untrained[0].hooked.attentions[0].W_Q.detach().norm()))
        return Weight(float(scope.untrained[0].hooked.attentions[0].W_Q.detach().norm()))

    found = trace_development(tiny_run, {"weight": Followed(look)})
    assert len({id(twins) for twins in seen}) == 1 and len(seen) == len(STEPS)
    assert [estimate.value for estimate in found.series[0].estimates] == own


def test_one_model_is_in_memory_at_a_time(tiny_run):
    import gc
    import weakref

    models: list[weakref.ref[torch.nn.Module]] = []

    def look(scope: Scope, n_prompts: int) -> Weight:
        gc.collect()
        assert sum(model() is not None for model in models) <= 1  # the last one may wait for its successor
        models.append(weakref.ref(scope.hooked))
        return Weight(1.0)

    trace_development(tiny_run, {"weight": Followed(look)})
    assert len(models) == len(STEPS)


def test_a_broken_checkpoint_is_skipped_and_named(copy_of_run):
    folder = copy_of_run()
    (folder / "checkpoints" / "step_8.safetensors").write_bytes(b"cut short")
    counted = Counted()
    found = trace_development(folder, counted.followed)
    assert "8" not in counted.calls and found.steps == tuple(step for step in STEPS if step != 8)
    (warning,) = found.warnings
    assert warning.startswith("Step 8 was skipped: ") and "step_8.safetensors is truncated" in warning


def test_what_an_analysis_refuses_at_one_checkpoint_is_named_and_kept(tiny_run, tmp_path):
    refusing = Counted(stop_at="2", stop_with=MesascopeError("it predicts NaN"))
    for _ in range(2):
        found = trace_development(tiny_run, refusing.followed, out=tmp_path)
        assert found.warnings == ("weight could not be measured at step 2: it predicts NaN.",)
        assert found.steps == tuple(STEPS) and 2 not in found.series[0].steps
    assert len(refusing.calls) == len(STEPS) - 1


@pytest.mark.parametrize(
    "error, said",
    [
        (MemoryError("4 GB"), "out of memory (4 GB); use fewer prompts (--prompts) or another device (--device)"),
        (np.linalg.LinAlgError("Singular matrix"), "a matrix could not be solved (Singular matrix); use more prompts"),
    ],
)
def test_what_fails_at_one_checkpoint_is_named_and_tried_again(tiny_run, tmp_path, error, said):
    failing = Counted(stop_at="2", stop_with=error)
    found = trace_development(tiny_run, failing.followed, out=tmp_path)
    (warning,) = found.warnings
    assert warning.startswith(f"weight could not be measured at step 2: {said}") and 2 not in found.series[0].steps
    again = Counted()
    assert trace_development(tiny_run, again.followed, out=tmp_path).warnings == () and again.calls == ["2"]


def test_a_checkpoint_that_memory_does_not_hold_is_skipped(tiny_run, monkeypatch):
    def load(address, **settings):
        if address.endswith("@step-8"):
            raise MemoryError
        return attach(address, **settings)

    monkeypatch.setattr(development, "attach", load)
    found = trace_development(tiny_run, Counted().followed)
    assert 8 not in found.steps and found.warnings[0].startswith("Step 8 was skipped: out of memory (without a word)")


def test_a_mistake_of_ours_is_raised(tiny_run):
    with pytest.raises(ZeroDivisionError):
        trace_development(tiny_run, Counted(stop_at="2", stop_with=ZeroDivisionError()).followed)


def test_a_quantity_that_few_checkpoints_have_is_shown_without_a_change(tiny_run):
    def late(scope: Scope, n_prompts: int) -> Weight:
        if int(scope.source.partition("@step-")[2]) < 16:
            raise MesascopeError("not there yet")
        return Weight(1.0)

    found = trace_development(tiny_run, performance() | {"weight": Followed(late)}, n_prompts=100)
    assert found.series[1].steps == (16, 32, 60) and found.series[1].verdict == "too few checkpoints"
    assert found.claims[-1].verdict == "too few checkpoints" and "3 checkpoints have it" in found.claims[-1].text


def steady() -> Followed:
    """Something that goes up and down between 1 and 2 from checkpoint to checkpoint."""
    return Followed(lambda scope, n: Weight(1.0 + STEPS.index(int(scope.source.partition("@step-")[2])) % 2))


def from_step(first: int) -> Followed:
    """Something that is there from a step on."""
    return Followed(lambda scope, n: Weight(float(int(scope.source.partition("@step-")[2]) >= first)))


def test_the_order_against_the_first_that_is_followed_is_claimed_with_its_interval(tiny_run):
    found = trace_development(tiny_run, {"loss": from_step(16), "weight": from_step(4)})
    assert [series.analysis for series in found.changing] == ["weight", "loss"]
    claims = {claim.id: claim for claim in found.claims}
    order, onset = claims["development.order.weight.norm"], claims["development.onset_order.weight.norm"]
    assert order in found.headlines and onset not in found.headlines
    assert order.value == pytest.approx(-8, abs=3) and order.ci == (-14, -4)  # in (2, 4] against (8, 16]
    assert order.null == 0.0 and order.verdict == onset.verdict == "before the loss"
    other = trace_development(tiny_run, {"loss": from_step(4), "weight": from_step(16)})
    assert other.claims[1].ci == (4, 14) and other.claims[1].verdict == "after the loss"


def test_what_changes_between_two_checkpoints_and_right_after_is_in_that_order(tiny_run):
    found = trace_development(tiny_run, {"loss": from_step(8), "weight": from_step(4)})
    assert found.claims[1].verdict == "before the loss" and found.claims[1].ci == (-6, 0)


def test_the_same_curve_twice_is_together_within_the_grid(tiny_run):
    found = trace_development(tiny_run, Counted().followed | {"twice": Counted().followed["weight"]})
    order = next(claim for claim in found.claims if claim.id.startswith("development.order."))
    assert order.verdict == "undetermined" and order.ci is not None and order.ci[0] < 0 < order.ci[1]
    assert "they may be together" in order.text


def test_progress_names_each_checkpoint(tiny_run):
    named: list[str] = []
    trace_development(tiny_run, Counted().followed, on_checkpoint=named.append)
    assert named == [f"step {step}" for step in STEPS]


def test_an_analysis_of_the_report_can_be_followed_as_it_is(tiny_run):
    found = trace_development(tiny_run, ["curvature", "matching"], n_prompts=80)
    assert {series.analysis for series in found.series} == {"matching"}  # one layer has no x-update to read
    assert "curvature" not in FOLLOWED


def test_every_analysis_that_is_followed_has_quantities_with_readable_names(tiny_run):
    labels = []
    for name, followed in choose(None).items():
        scope = attach(tiny_run)
        if followed.applies(scope):
            quantities = followed.quantities(followed.run(scope, 80).claims)
            assert quantities and all(claim.id.startswith(f"{name}.") for claim in quantities)
            labels += [followed.label(claim.id) for claim in quantities]
    assert labels[0] == "excess loss on gaussian isotropic" and "excess loss on w_std" not in labels
    assert {"query score", "R² of y in layer 1", "p of layer 1", "distance of layer 1"} <= set(labels)


@pytest.mark.parametrize(
    "steps, parts",
    [([], ["keeps 0 checkpoints"]), ([4], ["keeps 1 checkpoint, ", "checkpoints_per_doubling"])],
)
def test_a_run_with_too_few_checkpoints_is_refused(copy_of_run, steps, parts):
    with pytest.raises(MesascopeError) as refusal:
        trace_development(copy_of_run(steps), Counted().followed)
    assert all(part in str(refusal.value) for part in parts) and "\n" not in str(refusal.value)


def test_a_run_with_too_few_readable_checkpoints_says_why(copy_of_run):
    folder = copy_of_run(STEPS[:5])
    (folder / "checkpoints" / "step_1.safetensors").write_bytes(b"")
    with pytest.raises(MesascopeError, match="keeps 4 checkpoints that can be used .*step_1.safetensors is truncated"):
        trace_development(folder, Counted().followed)


@pytest.mark.parametrize(
    "run, complaint",
    [
        ("zoo:lsa-1", "zoo:lsa-1 keeps 0 checkpoints, and change points need 5; train longer"),
        ("zoo:separate-tokens@step-4", "is one checkpoint of a run; give the run itself, zoo:separate-tokens"),
        ("no/such/run", "no/such/run does not exist"),
    ],
)
def test_what_is_no_run_is_refused(run, complaint):
    with pytest.raises(MesascopeError, match=complaint):
        trace_development(run)


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(MesascopeError, match="is a folder of no known format"):
        trace_development(tmp_path)


def test_an_unknown_analysis_is_refused_with_the_nearest(tiny_run):
    with pytest.raises(MesascopeError, match="no analysis is called 'machting'; did you mean 'matching'"):
        trace_development(tiny_run, ["machting"])


def test_one_analysis_needs_no_list_and_all_are_those_of_the_report(tiny_run):
    assert list(choose("matching")) == list(choose(["matching"])) == ["matching"]
    assert list(choose("all")) == list(choose(["matching", "all"])) == list(dict.fromkeys([*FOLLOWED, *ANALYSES]))
    assert list(choose(None)) == list(choose([])) == list(FOLLOWED)
    assert {series.analysis for series in trace_development(tiny_run, "matching").series} == {"matching"}


def test_too_few_prompts_are_refused(tiny_run):
    with pytest.raises(MesascopeError, match="n_prompts=79: the intervals need at least 80"):
        trace_development(tiny_run, n_prompts=79)


def test_an_analysis_that_does_not_apply_says_what_it_needs(tiny_run):
    with pytest.raises(
        MesascopeError, match="has nothing to follow by learned-features: learned-features needs layers"
    ):
        trace_development(tiny_run, ["learned-features"])


@pytest.mark.parametrize("value, ci", [(math.nan, (0.0, 1.0)), (0.5, (0.0, math.inf)), (None, None), (0.5, None)])
def test_a_claim_without_a_finite_number_is_no_quantity(value, ci):
    sound = Claim("a.sound", "A sentence.", 0.5, (0.4, 0.6), None, "so")
    followed = Followed(FOLLOWED["spectral"].run)
    assert followed.quantities([Claim("a.broken", "A sentence.", value, ci, None, "so"), sound]) == [sound]
