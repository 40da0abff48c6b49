"""Compares one step of a leg with FP64: errors of loss and gradient, worst layers, and the error rounding explains.

The exact step is the same model in FP64. The error that rounding explains is measured by repeating the FP64 step with
operands and results of every matrix-multiplying module perturbed by the leg's largest rounding error (Higham 2002,
"Accuracy and Stability of Numerical Algorithms", section 2.2); where weights are held in lower precision, all weights
and the results of all modules are. A model that amplifies small errors, as batch norm
does, amplifies these too.
"""

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from halftime.contract.report.numerics import LayerError, Numerics
from halftime.plugin import Batch
from worker.data.batches import first_samples, map_tensors, samples_in
from worker.proof.grouped_products import GroupedProducts
from worker.training.held import State, restore
from worker.training.loop import Run, add_gradients
from worker.training.precision import PRECISIONS, Precision, multiplies_matrices, set_flags

#: Samples of the first batch that are used: rounding errors hardly depend on their number.
SAMPLES = 8

WORST_LAYERS = 5

Gradients = dict[str, Tensor]


def compare_with_fp64(run: Run, precision: Precision, batch: Batch, initial: State | None = None) -> Numerics:
    """Compares a run with initial weights with FP64, without dropout. Overwrites the gradients.

    Raises torch's out-of-memory error when FP64 does not fit.
    """
    parts = run.settings.gradient_accumulation
    count = max(SAMPLES, 2 * parts) // parts * parts  # batch norm of vectors needs two samples per part
    part = first_samples(batch, count)
    exact_run = _in_fp64(run, initial)
    with without_randomness(run.model):
        loss_scale, loss, gradients = _leg_step(run, part)
    set_flags(PRECISIONS["fp32"])
    try:
        exact_loss, exact = _exact_step(exact_run, part)
        with _Perturbation(exact_run.model, precision):
            _, perturbed = _exact_step(exact_run, part)
    finally:
        set_flags(precision)
    return Numerics(
        samples=samples_in(part),
        loss_scale=loss_scale,
        loss_relative_error=_finite(_ratio(abs(loss - exact_loss), abs(exact_loss))),
        gradient_relative_rmse=_finite(_ratio(_norm(_differences(gradients, exact)), _norm(exact))),
        explained_relative_rmse=_finite(_ratio(_norm(_differences(perturbed, exact)), _norm(exact))),
        worst_layers=_worst_layers(gradients, exact),
    )


@contextmanager
def without_randomness(model: nn.Module) -> Iterator[None]:
    """Disables dropout and other randomness, with which two steps would compute different functions.

    Sets all modules to evaluation mode, except batch norms, which normalise by the batch in training, and recurrent
    layers, whose kernels have no backward pass otherwise. A module may keep results from one pass to the next in
    evaluation mode and drop them when training is switched on, so every step is in a context of its own.
    """
    modes = {module: module.training for module in model.modules()}
    model.eval()
    for module, trained in modes.items():
        if isinstance(module, nn.modules.batchnorm._BatchNorm | nn.RNNBase):
            module.training = trained
    try:
        yield
    finally:
        model.train()
        for module, trained in modes.items():
            module.training = trained


def _leg_step(run: Run, batch: Batch) -> tuple[float, float, Gradients]:
    """Returns scale, loss, and unscaled gradients of a training step.

    Like training, halves the scaler's initial scale until nothing overflows.
    """
    scale = float(run.scaler.get_scale())
    while True:
        if run.scaler.is_enabled():
            run.scaler.load_state_dict(run.scaler.state_dict() | {"scale": scale})
        run.optimizer.zero_grad(set_to_none=True)
        loss = float(add_gradients(run, batch))
        gradients = {name: gradient.double() / scale for name, gradient in _gradients(run.model).items()}
        finite = all(bool(gradient.isfinite().all()) for gradient in gradients.values())
        if finite or scale <= 1:
            return scale, loss, gradients
        scale /= 2


def _in_fp64(run: Run, initial: State | None) -> Run:
    """Copies the run with its model in FP64, without autocast and scaler, but with the same micro-batches.

    Its weights are the initial ones before they were rounded to the dtype that the leg holds them in.
    """
    device_type = next(run.model.parameters()).device.type
    model = _copy(run.model).double()
    if initial is not None:
        restore(model, initial)
    return replace(
        run,
        model=model,
        forward=model,
        held_in=torch.float32,
        scaler=torch.amp.GradScaler(device_type, enabled=False),
        autocast=torch.autocast(device_type, enabled=False),
    )


def _copy(model: nn.Module) -> nn.Module:
    """Copies a model. Results of its last step that modules keep, such as a recurrent state, are copied as values."""
    kept = [value for module in model.modules() for value in tree_leaves(vars(module)) if isinstance(value, Tensor)]
    results = {id(value): value.detach().clone() for value in kept if not value.is_leaf}
    return copy.deepcopy(model, results)


def _exact_step(run: Run, batch: Batch) -> tuple[float, Gradients]:
    run.model.zero_grad(set_to_none=True)
    exact = map_tensors(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor, batch)
    with without_randomness(run.model), _constants_in_fp64(), GroupedProducts():
        loss = add_gradients(run, exact)
    return float(loss), _gradients(run.model)


@contextmanager
def _constants_in_fp64() -> Iterator[None]:
    """Makes FP64 the dtype of numbers that a forward pass turns into tensors: its smallest number is beyond FP32."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(default)


class _Perturbation:
    """Perturbs what a leg rounds by up to its relative roundoff while it is open.

    Under autocast, those are operands and results of matrix-multiplying modules. A leg that holds its weights in lower
    precision rounds all of them, and the result of every module. The noise is uniform, from a generator of its own.
    Gradients that flow back through it are perturbed equally.
    """

    def __init__(self, model: nn.Module, precision: Precision) -> None:
        everything = precision.weights_dtype is not torch.float32
        multiplying = [module for module in model.modules() if multiplies_matrices(module)]
        self._modules = multiplying
        self._rounding = list(model.modules()) if everything else multiplying
        self._roundoff = precision.unit_roundoff
        own = [dict(module.named_parameters(recurse=False)) for module in multiplying]  # not a computed weight
        weights = [parameters["weight"] for parameters in own if "weight" in parameters]
        if everything:
            weights = list(model.parameters())
        self._weights = {id(weight): weight for weight in weights}  # layers may share a weight
        self._kept: list[Tensor] = []
        device = next(model.parameters()).device
        self._generator = torch.Generator(device).manual_seed(0)

    def __enter__(self) -> None:
        self._kept = [weight.detach().clone() for weight in self._weights.values()]
        self._handles = [module.register_forward_pre_hook(self._on_operands) for module in self._modules]
        self._handles += [module.register_forward_hook(self._on_result) for module in self._rounding]
        with torch.no_grad():
            for weight in self._weights.values():
                weight.copy_(self._perturb(weight))

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
        with torch.no_grad():
            for weight, kept in zip(self._weights.values(), self._kept, strict=True):
                weight.copy_(kept)

    def _on_operands(self, _: nn.Module, operands: tuple[object, ...]) -> tuple[object, ...]:
        return tuple(self._perturb(one) if isinstance(one, Tensor) else one for one in operands)

    def _on_result(self, _: nn.Module, __: object, result: object) -> object:
        return self._perturb(result) if isinstance(result, Tensor) else result

    def _perturb(self, exact: Tensor) -> Tensor:
        noise = torch.rand(exact.shape, generator=self._generator, device=exact.device, dtype=exact.dtype)
        return exact * (1 + self._roundoff * (2 * noise - 1))


def _gradients(model: nn.Module) -> Gradients:
    """Returns the gradients of weights that have one: not of frozen ones, nor of experts without tokens."""
    return {name: value.grad.detach() for name, value in model.named_parameters() if value.grad is not None}


def _worst_layers(gradients: Gradients, exact: Gradients) -> list[LayerError]:
    errors = {name: _norm({name: difference}) for name, difference in _differences(gradients, exact).items()}
    total = math.sqrt(sum(error**2 for error in errors.values()))
    worst = sorted(errors, key=lambda name: errors[name] if math.isfinite(errors[name]) else math.inf, reverse=True)
    return [
        LayerError(
            name=name,
            relative_rmse=_finite(_ratio(errors[name], _norm({name: exact[name]} if name in exact else {}))),
            share_of_error=_finite(_ratio(errors[name] ** 2, total**2)),
        )
        for name in worst[:WORST_LAYERS]
    ]


def _differences(gradients: Gradients, exact: Gradients) -> Gradients:
    """Returns the errors of all gradients; one that is missing is zero."""
    names = list(dict.fromkeys([*exact, *gradients]))
    zero = torch.zeros((), dtype=torch.float64)
    return {name: gradients.get(name, zero).double() - exact.get(name, zero) for name in names}


def _norm(gradients: Gradients) -> float:
    return math.sqrt(sum(float(gradient.double().square().sum()) for gradient in gradients.values()))


def _ratio(above: float, below: float) -> float:
    return above / below if below else math.nan


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
