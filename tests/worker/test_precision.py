"""The switches of a precision: every reader of torch's agrees with them, whatever stood there before."""

import pytest
import torch

from worker.precision import PRECISIONS, read_flags, set_flags
from worker.precision_facts import expected_flags


@pytest.fixture(autouse=True)
def switches_of_fp32():
    yield
    set_flags(PRECISIONS["fp32"])


def legacy_readers():
    """What code that knows torch's old switches is told; they raise where old and new disagree."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=torch.backends.cudnn.allow_tf32):
        pass
    return {
        torch.get_float32_matmul_precision() == "high",
        torch.backends.cuda.matmul.allow_tf32,
        torch.backends.cudnn.allow_tf32,
    }


@pytest.mark.parametrize("before", PRECISIONS)
@pytest.mark.parametrize("name", PRECISIONS)
def test_old_and_new_readers_of_the_switches_agree(name, before):
    set_flags(PRECISIONS[before])
    set_flags(PRECISIONS[name])
    assert read_flags() == expected_flags(PRECISIONS[name])
    assert legacy_readers() == {name == "tf32"}


def test_products_of_half_precision_are_added_as_torch_does_by_default():
    torch.backends.cuda.matmul.allow_fp16_accumulation = True
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    assert read_flags() != expected_flags(PRECISIONS["fp16"])
    set_flags(PRECISIONS["fp16"])
    assert read_flags() == expected_flags(PRECISIONS["fp16"])
    assert read_flags()["cuda.matmul.allow_fp16_accumulation"] == "False"
