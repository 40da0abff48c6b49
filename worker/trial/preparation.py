"""Prepares a leg for its trial: precision, memory, data and model from the block's seed."""

import hashlib
from dataclasses import dataclass

import torch
from torch import nn

from halftime.contract.models import ConvnetSpec
from halftime.contract.report.trial import Attestation
from halftime.plugin import TrainingTask
from worker.data import TrialData, make_data
from worker.device import device as devices
from worker.errors import TrialFailed
from worker.messages import TrialSpec
from worker.models import blueprint_of
from worker.tasks import smoothed
from worker.training.adapters import add_adapters
from worker.training.checkpointing import checkpoint_activations
from worker.training.held import State, copy_of, digest_of, hold, state_of, widen_where_used
from worker.training.precision import (
    PRECISIONS,
    Precision,
    check,
    environment_overrides,
    read_flags,
    recorded_environment,
    set_flags,
)

#: Bytes of a parameter as it is built, in FP32.
BUILT_BYTES = 4


@dataclass(frozen=True)
class Prepared:
    """A model and its data on the device, under the trial's precision, before the first step."""

    device: torch.device
    precision: Precision
    model: nn.Module
    task: TrainingTask
    data: TrialData
    #: Recorded before training; probes and the dtypes of the forward pass are added afterwards.
    attestation: Attestation
    start_bytes: int | None
    #: A copy of the initial weights on the CPU, for the comparison with FP64; None without one.
    initial_state: State | None
    #: Why there is none though the trial is to be compared.
    why_no_initial_state: str | None
    #: Of the frozen weights on the device.
    frozen_sha256: str


def prepare_run(spec: TrialSpec, device: torch.device) -> Prepared:
    """Checks the device, sets the precision, resets memory, and creates data and model from the block's seed."""
    precision = PRECISIONS[spec.precision]
    check(device, precision)
    devices.make_current(device)
    devices.limit_memory(device, spec.memory_limit_bytes)
    blueprint = blueprint_of(spec.model)
    parameters = spec.parameter_count or spec.model.parameter_count() or 0
    more_bytes = 0 if spec.adapters else _more_host_bytes(precision, device)
    devices.require_host_memory((BUILT_BYTES + more_bytes) * parameters)
    set_flags(precision)
    flags = read_flags()
    start_bytes = devices.reset_memory(device)

    torch.manual_seed(spec.seed)
    task = smoothed(blueprint.task, spec.training.label_smoothing)
    data = make_data(task, spec.data, spec.training, spec.seed, spec.max_batches)
    model = blueprint.build()
    if spec.adapters is not None:
        add_adapters(model, spec.adapters)
    attestation = Attestation(
        flags=flags,
        environment_overrides=environment_overrides(),
        environment=recorded_environment(),
        probes=[],
        forward_dtypes={},
        initial_weights_sha256=hash_weights(model),
        data_sha256=data.sha256(),
    )
    initial_state, why_none = _copy_of_state(model, precision, device) if spec.examined else (None, None)
    if spec.training.activation_checkpointing:
        checkpoint_activations(model)
    channels_last = spec.training.channels_last or (isinstance(spec.model, ConvnetSpec) and spec.model.channels_last)
    memory_format = torch.channels_last if channels_last else torch.preserve_format
    hold(model, precision.weights_dtype)  # first: the device may have no room for FP32
    if precision.matmul_dtype is torch.float32:
        widen_where_used(model)
    model.to(device)
    model.to(memory_format=memory_format)  # type: ignore[call-overload] # missing from torch's stubs
    model.train()
    placed = data.to(device, memory_format)
    frozen = digest_of(frozen_weights(model))
    return Prepared(device, precision, model, task, placed, attestation, start_bytes, initial_state, why_none, frozen)


def _more_host_bytes(precision: Precision, device: torch.device) -> int:
    """Bytes per parameter that training takes on the host beside the weights as built: a lower bound.

    On a CPU: weights, gradients and two moments. On CUDA, none.
    """
    return 4 * precision.weights_dtype.itemsize - BUILT_BYTES if device.type == "cpu" else 0


def _copy_of_state(model: nn.Module, precision: Precision, device: torch.device) -> tuple[State | None, str | None]:
    """Returns a copy of the weights, or why the host has no memory for it: training does without one."""
    state = state_of(model)
    copy_bytes = sum(value.nbytes for value in state.values())
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    try:
        devices.require_host_memory(copy_bytes + _more_host_bytes(precision, device) * trained)
    except TrialFailed as error:
        return None, error.failure.detail
    return copy_of(state), None


def frozen_weights(model: nn.Module) -> list[nn.Parameter]:
    """The weights that training leaves alone."""
    return [parameter for parameter in model.parameters() if not parameter.requires_grad]


def hash_weights(model: nn.Module) -> str:
    """SHA-256 of the state dict (names and bytes): equal across the legs of a block."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
