import torch

from mesascope.probes.jackknife import N_BLOCKS
from mesascope.probes.spline_regression import Normal
from tests.probes.prompts import noise


def test_held_out_errors_are_those_of_refits_without_each_block():
    F, Y = noise(103, 4), noise(103, 2, seed=1)
    held_out = Normal.of(F, Y).held_out
    for block, rows in enumerate(torch.arange(103).tensor_split(N_BLOCKS)):
        rest = torch.ones(103, dtype=torch.bool)
        rest[rows] = False
        coef = torch.linalg.lstsq(F[rest], Y[rest]).solution
        torch.testing.assert_close(held_out[block], (Y[rows] - F[rows] @ coef).square().sum(0))
