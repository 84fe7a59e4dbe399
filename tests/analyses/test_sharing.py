"""Processes that share prompts find what one finds."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import torch

from mesascope.analyses import attach, fit_readouts
from mesascope.analyses.fitting import fitted
from mesascope.analyses.sharing import WHOLE, Share
from mesascope.models import HookedRegressor
from mesascope.models.training.presets import read_preset
from mesascope.models.training.processes import Processes

from .conftest import STEP_TASK, decoder


class Threads:
    """Ranks that meet at every sum, as processes do in an all-reduce."""

    def __init__(self, world):
        self.world, self.parts, self.barrier = world, [torch.zeros(())] * world, Barrier(world, timeout=60)

    def share(self, rank):
        def total(own):
            self.parts[rank] = own
            self.barrier.wait()
            found = torch.stack(self.parts).sum(0)
            self.barrier.wait()  # nobody writes the next part before all have read this one
            return found

        return Share(rank, self.world, total)

    def run(self, work):
        with ThreadPoolExecutor(self.world) as pool:
            return list(pool.map(work, map(self.share, range(self.world))))


def numbers(result):
    """Every float of a result, flat."""
    found = []

    def walk(item):
        if isinstance(item, dict):
            item = list(item.values())
        if isinstance(item, list | tuple):
            for part in item:
                walk(part)
        elif isinstance(item, float):
            found.append(item)

    walk(result)
    return found


def test_two_processes_find_what_one_finds():
    def fit(share):  # a model each, for hooks are the model's
        return fit_readouts(attach(decoder(n_layers=1)), "y", 80, n_scored=80, share=share)

    alone, together = fit(WHOLE), Threads(2).run(fit)
    expected = numbers(alone.to_json())
    assert len(expected) > 50
    for found in together:
        assert numbers(found.to_json()) == pytest.approx(expected, abs=1e-10, nan_ok=True)


def test_three_processes_have_the_coefficients_of_one():
    """Three do not divide the twenty blocks, so that each adds to each."""

    def coefficients(share):
        readouts = fitted(attach(decoder(n_layers=1)), "w_ols", 400, share).readouts
        return [readout.coef_ for readout in readouts.values()]

    expected = coefficients(WHOLE)
    for found in Threads(3).run(coefficients):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)


def test_a_process_without_a_batch_adds_nothing_and_has_the_readouts_of_all():
    """There are 20 batches for 21 processes."""
    sums = []

    def keep(own):
        sums.append(own)
        return own

    whole = fitted(attach(decoder(n_layers=1)), "y", 40, Share(total=keep)).readouts
    left = iter(sums)

    def total(own):
        assert not own.any()
        return next(left)

    last = fitted(attach(decoder(n_layers=1)), "y", 40, Share(20, 21, total)).readouts
    assert all(torch.equal(last[hook].coef_, readout.coef_) for hook, readout in whole.items())


def test_nulls_that_are_drawn_anew_do_not_depend_on_who_draws_them():
    """A sine has no w: another function of the task is the null, and each batch draws its own."""
    preset = read_preset("vonoswald/sine")

    def r2(share):
        scope = attach(HookedRegressor(preset.model), task=preset.task)
        scores = fitted(scope, "y", 40, share).score(40)
        return [scores.r2(hook, variant).value for hook in scores.errors for variant in range(3)]

    expected = r2(WHOLE)
    for found in Threads(2).run(r2):
        assert found == pytest.approx(expected, abs=1e-10)


def test_a_share_that_is_not_summed_is_found_out():
    """The control: one process' half alone is not what both find."""
    alone, half = (fitted(attach(decoder(n_layers=1)), "y", 80, share).readouts for share in (WHOLE, Share(0, 2)))
    for hook, readout in alone.items():
        assert (half[hook].coef_ - readout.coef_).abs().max() > 1e-6


@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_shares_are_disjoint_and_together_every_batch(world):
    scope = attach(decoder(), task=STEP_TASK.model_copy(update={"n_points": 8}))
    whole = list(scope.batches(130, "any", 20))
    for rank in range(world):
        own = list(scope.batches(130, "any", 20, Share(rank, world).taken))
        for mine, batch in zip(own, whole[rank::world], strict=True):
            assert torch.equal(mine.xs, batch.xs) and torch.equal(mine.ys, batch.ys)


def test_one_process_has_everything(unchecked_shapes):
    share = Share.of(Processes())
    assert (share.rank, share.world) == (0, 1)
    value = torch.ones(2)
    assert share.total(value) is value and Processes().sum(value) is value
    Processes().end()  # nothing to wait for


def torchrun(arguments, n_processes=2):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(n_processes), *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)


@pytest.mark.slow
def test_torchrun_prints_the_numbers_of_one_process_once(tiny_run):
    done = torchrun(["-m", "mesascope", "probe", str(tiny_run), "--prompts", "400", "--json"])
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)  # one document: the other process is silent
    alone = fit_readouts(attach(tiny_run), "y", 400).to_json()
    assert numbers(found) == pytest.approx(numbers(alone), abs=1e-10, nan_ok=True)


@pytest.mark.slow
def test_a_process_that_fails_stops_the_others(tmp_path, tiny_run):
    program = tmp_path / "program.py"
    program.write_text(
        "import os, sys\n"
        "from mesascope.analyses import Scope\n"
        "from mesascope.cli import main\n"
        "from mesascope.models import MesascopeError\n"
        "sample = Scope.prompts\n"
        "def broken(self, n_prompts, stream, start=0):\n"
        "    if start > 100 and os.environ['RANK'] == '1':\n"
        "        raise MesascopeError('rank 1 lost its disk')\n"
        "    return sample(self, n_prompts, stream, start)\n"
        "Scope.prompts = broken\n"
        f"sys.argv = ['mesascope', 'probe', {str(tiny_run)!r}, '--prompts', '400']\n"
        "main()\n"
    )
    done = torchrun([str(program)])  # within the time limit of the call, not of the all-reduce
    assert done.returncode != 0 and "error: rank 1 lost its disk" in done.stderr
    assert done.stdout == ""
