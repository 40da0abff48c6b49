"""Watches every operation of a step that multiplies: its dtype, its work, and the module that it belongs to.

A module's name does not say what it multiplies in: autocast lowers some operators and not others, and a model may
disable it. torch's dispatcher sees the operands themselves, below autocast and in the backward pass.
"""

from collections import Counter, defaultdict
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch._ops import OpOverload
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.nn.utils.parametrize import type_before_parametrizations
from torch.utils._python_dispatch import TorchDispatchMode
from typing_extensions import override

from halftime.contract.report.trial import NO_MODULE, MultiplyingModules
from worker.proof.flops import OPERANDS, Arguments, Count, work_of
from worker.proof.products import Product


@dataclass(frozen=True)
class Place:
    """Where operations multiply: all modules of a class with one operator in one dtype."""

    dtype: torch.dtype
    module_class: str
    operator: str


class MultiplicationWatch(TorchDispatchMode):  # type: ignore[no-untyped-call] # torch's own
    """Records the operations that multiply while it is open. It never waits for the device."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._names = {module: name for name, module in model.named_modules()}
        self._running: list[nn.Module] = []
        self._flops: defaultdict[Place, Count] = defaultdict(float)
        self._first: dict[Place, str] = {}
        self._least_flops: Count = 0.0
        self._products: Counter[tuple[torch.dtype, Product]] = Counter()
        self._hooks = ExitStack()

    @override
    def __enter__(self) -> "MultiplicationWatch":
        for hook in (
            register_module_forward_pre_hook(lambda module, _: self._running.append(module)),
            register_module_forward_hook(lambda *_: self._leave(), always_call=True),
        ):
            self._hooks.callback(hook.remove)
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    @override
    def __exit__(self, *error: Any) -> None:  # what a context manager is given
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        self._hooks.close()

    @override
    def __torch_dispatch__(
        self, func: OpOverload, types: object, args: Arguments = (), kwargs: dict[str, Any] | None = None
    ) -> object:
        """Executes the operator, then records its work."""
        result = func(*args, **kwargs or {})
        self._note(func._schema.name, args, result)
        return result

    def flops_by_dtype(self) -> dict[str, float]:
        """Returns the multiplied FLOPs by the dtype of the operands."""
        totals: defaultdict[str, float] = defaultdict(float)
        for place, flops in sorted(self._by_place().items(), key=lambda one: -one[1]):
            totals[_name(place.dtype)] += flops
        return dict(totals)

    def least_flops(self) -> int:
        """Returns the lower bound of the FLOPs of all operations."""
        return round(float(self._least_flops))

    def products(self) -> dict[torch.dtype, list[Product]]:
        """Returns the distinct matrix products by dtype, in descending order of total work."""
        products: defaultdict[torch.dtype, list[Product]] = defaultdict(list)
        for dtype, product in sorted(self._products, key=lambda one: one[1].flops * self._products[one], reverse=True):
            products[dtype].append(product)
        return dict(products)

    def places(self) -> list[MultiplyingModules]:
        """Returns where operations multiplied, the most work first."""
        return [
            MultiplyingModules(
                module_class=place.module_class,
                module=self._first[place],
                operator=place.operator,
                dtype=_name(place.dtype),
                flops=flops,
            )
            for place, flops in sorted(self._by_place().items(), key=lambda one: -one[1])
        ]

    def _by_place(self) -> dict[Place, float]:
        return {place: float(flops) for place, flops in self._flops.items()}

    def _note(self, operator: str, args: Arguments, result: object) -> None:
        work = work_of(operator, args, result)
        if work is None:
            return
        module = self._running[-1] if self._running else None
        place = Place(work.dtype, type_before_parametrizations(module).__name__ if module else NO_MODULE, operator)
        self._first.setdefault(place, self._names.get(module, "") if module else "")
        self._flops[place] += work.flops
        self._least_flops += work.least_flops
        if operator in OPERANDS:
            left, right = (args[position] for position in OPERANDS[operator])
            if right.dim() > 1:
                self._products[work.dtype, Product.of(left, right)] += 1

    def _leave(self) -> None:
        self._running.pop()


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
