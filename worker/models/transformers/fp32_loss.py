"""The library's loss of a model that is held in BF16, computed in FP32: its matching of boxes has no BF16 kernel."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree  # torch's own trees; it has no public name for them yet


def compute_loss_in_fp32(model: Any) -> None:  # noqa: ANN401 # `loss_function` is the library's
    """Makes a model of the library compute its loss from floats of FP32 or more, except under autocast.

    Autocast chooses the dtype of every operation itself. A model whose class does not compute its loss by
    `loss_function` stays as it is.
    """
    if getattr(model, "loss_type", None) is not None:
        model.loss_function = partial(_widened, model.loss_function)


def _widened(loss_function: Callable[..., Any], *outputs: Any, **named_outputs: Any) -> Any:  # noqa: ANN401 # the library's
    outputs, named_outputs = pytree.tree_map_only(Tensor, _widen, (outputs, named_outputs))
    return loss_function(*outputs, **named_outputs)


def _widen(tensor: Tensor) -> Tensor:
    narrow = tensor.is_floating_point() and torch.finfo(tensor.dtype).bits < 32
    return tensor.float() if narrow and not _is_under_autocast(tensor.device.type) else tensor


def _is_under_autocast(device_type: str) -> bool:
    return torch.amp.is_autocast_available(device_type) and torch.is_autocast_enabled(device_type)
