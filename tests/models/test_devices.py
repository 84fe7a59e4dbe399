import pytest
import torch

from mesascope.models.devices import lacks_memory


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory."), "torch's own"])
def test_lack_of_memory_is_told_whoever_says_it(error):
    if isinstance(error, str):
        with pytest.raises(RuntimeError) as raised:
            torch.empty(2**60)
        error = raised.value
    assert lacks_memory(error)


@pytest.mark.parametrize("error", [RuntimeError("shapes do not match"), ValueError("not enough memory"), KeyError("x")])
def test_what_else_goes_wrong_is_no_lack_of_memory(error):
    assert not lacks_memory(error)
