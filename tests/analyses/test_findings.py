import numpy as np
import pytest
import scipy.linalg
import torch

from mesascope.analyses import attach
from mesascope.analyses.findings import reason_of, run_analyses
from mesascope.analyses.registry import Analysis
from mesascope.models import LeastSquares, MesascopeError

from .report.planted import Planted


def raises(error):
    def run(scope, n_prompts):
        raise error

    return Analysis(run)


PLANTED = Analysis(lambda scope, n_prompts: Planted())


def found_of(analyses, keep=lambda result: result.name):
    started: list[str] = []
    findings = run_analyses(attach(LeastSquares()), analyses, 40, keep, started.append)
    return findings, started


def test_what_was_found_what_does_not_apply_and_what_failed_are_told_apart():
    deaf = Analysis(PLANTED.run, lambda scope: False, "ears")
    findings, started = found_of({"one": PLANTED, "deaf": deaf, "bad": raises(MesascopeError("no")), "two": PLANTED})
    assert findings.found == {"one": "planted", "two": "planted"} and started == ["one", "deaf", "bad", "two"]
    assert findings.left_out == {"deaf": "ears"} and findings.failed == {"bad": "no"} and findings.mistake is None


def test_what_cannot_be_kept_failed():
    def keep(result):
        raise MesascopeError("its claims refuse")

    findings, _ = found_of({"one": PLANTED}, keep)
    assert findings.found == {} and findings.failed == {"one": "its claims refuse"}


def test_a_question_that_refuses_whether_it_applies_failed():
    def applies(scope):
        raise MesascopeError("who knows")

    assert found_of({"one": Analysis(PLANTED.run, applies)})[0].failed == {"one": "who knows"}


def test_a_mistake_of_ours_ends_the_run_and_is_handed_back():
    error = IndexError("a mistake\nof ours. Really.")
    findings, started = found_of({"one": PLANTED, "wrong": raises(error), "never": PLANTED})
    assert findings.mistake is error and started == ["one", "wrong"]
    assert findings.found == {"one": "planted"}
    assert findings.failed["wrong"] == "a mistake of ours, IndexError: a mistake of ours. Really"
    assert findings.failed["never"].startswith("it was not run")


def test_a_user_who_stops_is_heard():
    with pytest.raises(KeyboardInterrupt):
        found_of({"one": raises(KeyboardInterrupt())})


def too_large():
    return torch.empty(2**60)


def singular():
    return torch.linalg.cholesky(-torch.eye(2))


@pytest.mark.parametrize(
    "fail, said",
    [
        (too_large, "out of memory ([enforce fail at alloc_cpu.cpp"),
        (lambda: np.linalg.inv(np.zeros((2, 2))), "a matrix could not be solved (Singular matrix)"),
        (lambda: scipy.linalg.cholesky(-np.eye(2)), "a matrix could not be solved (1-th leading minor"),
        (singular, "a matrix could not be solved (linalg.cholesky"),
    ],
)
def test_memory_and_matrices_are_reasons_with_a_remedy(fail, said):
    """As the libraries themselves raise them."""
    with pytest.raises(Exception) as raised:
        fail()
    reason = reason_of(raised.value)
    assert reason is not None and reason.startswith(said) and "; use " in reason and "\n" not in reason
    assert "(--prompts) or another" in reason
    elsewhere = reason_of(raised.value, by_prompts=False)
    assert elsewhere is not None and "; use another" in elsewhere and "--prompts" not in elsewhere


@pytest.mark.parametrize("fits", [True, False])
def test_fewer_prompts_are_a_remedy_only_where_readouts_are_fitted(fits):
    def fails(scope, n_prompts):
        raise MemoryError("4 GB")

    scope = attach(LeastSquares())
    (reason,) = run_analyses(scope, {"one": Analysis(fails, fits_readouts=fits)}, 80, lambda r: r).failed.values()
    assert ("--prompts" in reason) == fits and reason.endswith("another device (--device)")


def test_what_torch_says_of_memory_is_said_with_how_much_was_asked_for():
    with pytest.raises(RuntimeError) as raised:
        too_large()
    reason = reason_of(raised.value)
    assert reason is not None and f"tried to allocate {4 * 2**60} bytes" in reason


@pytest.mark.parametrize("error", [RuntimeError("shapes do not match"), ValueError("no"), ZeroDivisionError()])
def test_other_errors_are_mistakes_of_ours(error):
    assert reason_of(error) is None
