"""The switches of a precision: every reader of torch's agrees with them, whatever stood there before."""

import pytest
import torch

from worker.training.precision import PRECISIONS, environment_overrides, read_flags, recorded_environment, set_flags
from worker.training.precision_facts import expected_flags


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


@pytest.fixture
def environment(monkeypatch):
    for name in (*environment_overrides(), *recorded_environment()):
        monkeypatch.delenv(name)
    return monkeypatch.setenv


@pytest.mark.parametrize(
    ("name", "value", "spoils"),
    [
        ("NVIDIA_TF32_OVERRIDE", "0", True),
        ("TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "1", True),
        ("CUDA_LAUNCH_BLOCKING", "1", True),
        ("CUDA_LAUNCH_BLOCKING", "0", False),
        ("CUDA_LAUNCH_BLOCKING", "", False),
        ("PYTORCH_NO_CUDA_MEMORY_CACHING", "0", True),
        ("CUBLAS_WORKSPACE_CONFIG", ":4096:8", False),
        ("CUDA_VISIBLE_DEVICES", "0", False),
        ("CUDA_DEVICE_ORDER", "PCI_BUS_ID", False),
        ("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True", False),
    ],
)
def test_a_variable_is_recorded_and_an_override_only_where_it_spoils_figures(environment, name, value, spoils):
    environment(name, value)
    assert recorded_environment() == {name: value}
    assert environment_overrides() == ({name: value} if spoils else {})


def test_secrets_and_what_is_of_no_matter_to_cuda_are_not_recorded(environment):
    for name in ("NVIDIA_API_KEY", "TORCH_HUB_TOKEN", "CUDA_SECRET", "PYTORCH_PASSWORD", "HOME_OF_CUDA_", "TRITON_X"):
        environment(name, "x")
    environment("TORCH_MIRROR", "https://user:word@example.org/")
    assert recorded_environment() == {}
