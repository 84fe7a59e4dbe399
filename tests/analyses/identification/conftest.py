"""What several tests of an identification look at."""

import pytest

from mesascope.analyses import Identification
from mesascope.models import HookedRegressor, Newton

from ..conftest import STEP_TASK
from .quickly import quick


@pytest.fixture(scope="package")
def newton_3() -> Identification:
    return quick(Newton(3))


@pytest.fixture(scope="package")
def one_step(predicts_y: HookedRegressor) -> Identification:
    return quick(predicts_y, STEP_TASK)
