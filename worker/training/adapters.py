"""Adds adapters to a model with `peft`, and freezes everything else."""

import difflib
import os
import warnings
from typing import Any

import torch
from torch import nn

from halftime.contract.report.failure import FailureCode
from halftime.contract.request.adapters import LoraConfig
from worker.errors import TrialFailed
from worker.training.precision import TRANSPOSED_LINEAR

#: Modules that peft has low-rank adapters for.
ADAPTABLE = (nn.Linear, nn.Embedding, nn.Conv1d, nn.Conv2d, nn.Conv3d)

#: Most names that a refusal lists.
MAX_NAMES = 20


def add_adapters(model: nn.Module, config: LoraConfig) -> None:
    """Adds adapters from torch's global generator, freezes all other weights and stores them as asked.

    Names of modules stay, but an adapted one is at `<name>.base_layer`. Raises TrialFailed (`invalid_model`) naming the
    field that is not accepted.
    """
    peft = _library()
    names = _targets(model, config)
    _require_rank(model, names, config.rank)
    lora = peft.LoraConfig(r=config.rank, lora_alpha=config.alpha, lora_dropout=config.dropout, target_modules=names)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it transposes GPT-2's weights, as it must
        try:
            peft.inject_adapter_in_model(lora, model)
        except ValueError as error:  # a module that peft refuses, such as a grouped convolution of another rank
            raise _invalid(f"target_modules: {error}") from error
    if config.base_precision == "bf16":
        _store_in_bf16(model)


def _store_in_bf16(model: nn.Module) -> None:
    """Rounds frozen matrices; vectors stay as they are, as in peft's `prepare_model_for_kbit_training`."""
    for parameter in model.parameters():
        if not parameter.requires_grad and parameter.dim() > 1:
            parameter.data = parameter.data.to(torch.bfloat16)


def _targets(model: nn.Module, config: LoraConfig) -> list[str]:
    """Names of the modules that get an adapter."""
    adaptable = [name for name, module in model.named_modules() if name and _is_adaptable(module)]
    adaptable = [name for name in adaptable if not _is_read_by_parent(model, name)]
    linear = [name for name in adaptable if _is_linear(model.get_submodule(name))]
    if config.target_modules is None:
        return _all_but_output(model, linear)
    for wanted in config.target_modules:
        if not any(_matches(name, wanted) for name in adaptable):
            raise _invalid(f"target_modules: no module is called {wanted!r}. {_hint(wanted, linear)}")
    return [name for name in adaptable if any(_matches(name, wanted) for wanted in config.target_modules)]


def _all_but_output(model: nn.Module, linear: list[str]) -> list[str]:
    """All linear layers without the output layer, which peft's `all-linear` leaves out too.

    It is the one that the library calls the output embeddings; of another model, the last.
    """
    readers = [getattr(module, "get_output_embeddings", None) for module in model.modules()]
    outputs = [read() for read in readers if callable(read)]
    output = next((one for one in outputs if one is not None), None)
    last = [name for name in linear if model.get_submodule(name) is output] or linear[-1:]
    names = [name for name in linear if name not in last]
    if not names:
        raise _invalid("target_modules: the model has no linear layer beside its output. Name the modules to adapt.")
    return names


def _matches(name: str, wanted: str) -> bool:
    return name == wanted or name.endswith(f".{wanted}")


def _hint(wanted: str, linear: list[str]) -> str:
    """Near names, or all linear layers by the last part of their names."""
    parts = list(dict.fromkeys(name.rpartition(".")[2] for name in linear))
    near = difflib.get_close_matches(wanted, [*parts, *linear], n=3)
    if near:
        return f"Did you mean {' or '.join(near)}?"
    return f"The model's linear layers are {', '.join(parts[:MAX_NAMES]) or 'none'}."


def _require_rank(model: nn.Module, names: list[str], rank: int) -> None:
    for name in names:
        weight = model.get_submodule(name).weight
        assert isinstance(weight, torch.Tensor)
        most = min(len(weight), weight[0].numel())
        if rank > most:
            raise _invalid(f"rank: {rank} is more than the {most} that {name} can have. Use a rank up to {most}.")


def _is_adaptable(module: nn.Module) -> bool:
    return isinstance(module, ADAPTABLE) or _is_linear(module)


def _is_linear(module: nn.Module) -> bool:
    kind = type(module)
    return isinstance(module, nn.Linear) or (kind.__module__, kind.__name__) == TRANSPOSED_LINEAR


def _is_read_by_parent(model: nn.Module, name: str) -> bool:
    """Whether the parent uses the module's weight without calling it, which would pass its adapter by."""
    return isinstance(model.get_submodule(name.rpartition(".")[0]), nn.MultiheadAttention)


def _library() -> Any:  # noqa: ANN401 # a module imported only on demand: it takes seconds
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")
    try:
        import peft  # noqa: PLC0415
    except ImportError as error:
        raise _invalid("the worker has no peft. Install it there: pip install 'halftime[worker]'.") from error
    return peft


def _invalid(reason: str) -> TrialFailed:
    field = "config.adapters" if reason.startswith("the worker") else "config.adapters."
    separator = ": " if field == "config.adapters" else ""
    return TrialFailed.because(FailureCode.INVALID_MODEL, f"{field}{separator}{reason}")
