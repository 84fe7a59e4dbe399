import pytest

from mesascope.analyses import attach
from mesascope.models import Newton

from ..conftest import WIDE


def test_convergence_is_the_mean_squared_error(newton_3):
    prompts = attach(Newton(3), task=WIDE).prompts(newton_3.errors.n_tune, "similarity tune")
    found = newton_3.convergence
    null = prompts.ys[:, 1:].square().mean(0)
    ours = (Newton(3).predict(prompts) - prompts.ys)[:, 1:].square().mean(0)
    assert found.null == pytest.approx(null.tolist())
    assert found.layers["output"] == pytest.approx(ours.tolist())
    assert found.iterates["Newton"][2] == pytest.approx(ours.tolist())
    late = [i for i, t in enumerate(found.points) if t >= WIDE.late]
    assert found.relative(found.layers["output"]) == pytest.approx((ours[late].sum() / null[late].sum()).item())
