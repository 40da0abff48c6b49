"""Error of small operations in each precision against FP64, by size and layout, which select different kernels."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from testing.first_contact.lines import ProbeError
from testing.first_contact.processes import Observer
from testing.first_contact.scale import Convolution, Product, Scale
from worker.training.precision import PRECISIONS, Precision, set_flags

Operation = Callable[..., Tensor]


@dataclass(frozen=True)
class Case:
    """An operation and its FP32 operands on the device."""

    operation: str
    of: str
    compute: Operation
    operands: tuple[Tensor, ...]


def observe_probes(observer: Observer) -> None:
    """Run every case in every precision, on the same operands."""
    for number, maker in enumerate(observer.in_time(_makers(observer.scale))):
        case = maker.make(_normal(observer.device, number))
        exact = _exact(case)
        for name in observer.scale.precisions:
            observer.write(_measured(case, PRECISIONS[name], observer.device, exact))


def _measured(case: Case, precision: Precision, device: torch.device, exact: Tensor | str) -> ProbeError:
    line = ProbeError(precision=precision.name, operation=case.operation, of=case.of, relative_error=None)
    if isinstance(exact, str):
        return line.model_copy(update={"error": exact})
    set_flags(precision)
    dtype = precision.autocast_dtype
    try:
        with torch.no_grad(), torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
            computed = case.compute(*case.operands).double()
    except RuntimeError as error:
        return line.model_copy(update={"error": _first_line(error)})
    return line.model_copy(update={"relative_error": float((computed - exact).norm() / exact.norm())})


def _exact(case: Case) -> Tensor | str:
    """The result in FP64, or the error."""
    try:
        with torch.no_grad():
            return case.compute(*(operand.double() for operand in case.operands))
    except RuntimeError as error:
        return f"in FP64: {_first_line(error)}"


Normal = Callable[..., Tensor]


def _normal(device: torch.device, seed: int) -> Normal:
    """Draw standard normal operands on the CPU: the same ones for every device."""
    generator = torch.Generator().manual_seed(seed)
    return lambda *size: torch.randn(*size, generator=generator).to(device)


@dataclass(frozen=True)
class _Maker:
    """Builds a case on demand."""

    name: str
    make: Callable[[Normal], Case]

    def __str__(self) -> str:
        return self.name


def _makers(scale: Scale) -> Iterator[_Maker]:
    for product in scale.products:
        for operation, make in PRODUCTS.items():
            yield _Maker(f"{operation} of {_size(product)}", partial(make, operation=operation, product=product))
    for convolution in scale.convolutions:
        for layout in LAYOUTS:
            make_convolution = partial(_convolution, convolution=convolution, layout=layout)
            yield _Maker(f"conv2d of {convolution}, {layout}", make_convolution)
    for causal in (False, True):
        yield _Maker("attention", partial(_attention, size=scale.attention, causal=causal))
    yield _Maker("lstm", partial(_recurrent, size=scale.recurrent))


def _plain(normal: Normal, operation: str, product: Product) -> Case:
    rows, inner, columns = product
    return Case(operation, _size(product), torch.mm, (normal(rows, inner), normal(inner, columns)))


def _right_transposed(normal: Normal, operation: str, product: Product) -> Case:
    rows, inner, columns = product
    return Case(operation, _size(product), torch.mm, (normal(rows, inner), normal(columns, inner).t()))


def _left_transposed(normal: Normal, operation: str, product: Product) -> Case:
    rows, inner, columns = product
    return Case(operation, _size(product), torch.mm, (normal(inner, rows).t(), normal(inner, columns)))


def _with_bias(normal: Normal, operation: str, product: Product) -> Case:
    rows, inner, columns = product
    operands = (normal(columns), normal(rows, inner), normal(inner, columns))
    return Case(operation, _size(product), torch.addmm, operands)


def _linear(normal: Normal, operation: str, product: Product) -> Case:
    rows, inner, columns = product
    operands = (normal(rows, inner), normal(columns, inner), normal(columns))
    return Case(operation, _size(product), functional.linear, operands)


#: Layouts in cuBLAS's notation: N for a matrix as stored, T for a transposed one.
PRODUCTS: dict[str, Callable[..., Case]] = {
    "mm NN": _plain,
    "mm NT": _right_transposed,
    "mm TN": _left_transposed,
    "addmm": _with_bias,
    "linear": _linear,
}
LAYOUTS = {"NCHW": torch.contiguous_format, "NHWC": torch.channels_last}


def _convolution(normal: Normal, convolution: Convolution, layout: str) -> Case:
    inner = convolution.images[1] // convolution.groups
    filters = normal(convolution.out_channels, inner, convolution.kernel, convolution.kernel)
    operands = (normal(*convolution.images), filters)

    def convolve(images: Tensor, weights: Tensor) -> Tensor:
        return functional.conv2d(images, weights, padding=convolution.kernel // 2, groups=convolution.groups)

    placed = tuple(operand.to(memory_format=LAYOUTS[layout]) for operand in operands)
    return Case("conv2d", f"{convolution}, {layout}", convolve, placed)


def _attention(normal: Normal, size: tuple[int, int, int, int], causal: bool) -> Case:
    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return functional.scaled_dot_product_attention(query, key, value, is_causal=causal)

    of = f"{_size(size)}{', causal' if causal else ''}"
    return Case("attention", of, attend, (normal(*size), normal(*size), normal(*size)))


def _recurrent(normal: Normal, size: tuple[int, int, int]) -> Case:
    width = size[-1]
    network = nn.LSTM(width, width).requires_grad_(False)
    weights = [normal(*parameter.shape) / width**0.5 for parameter in network.parameters()]

    def run(inputs: Tensor, *parameters: Tensor) -> Tensor:
        state = {name: value for (name, _), value in zip(network.named_parameters(), parameters, strict=True)}
        moved = network.to(inputs.device, inputs.dtype)
        outputs: Tensor = torch.func.functional_call(moved, state, (inputs,))[0]
        return outputs

    return Case("lstm", _size(size), run, (normal(*size), *weights))


def _size(size: tuple[int, ...]) -> str:
    return "x".join(map(str, size))


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0][:300]}"
