"""Runs a model on torch's meta device, which has shapes and no values: what does not fit is found before training."""

import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from typing_extensions import override

from halftime.contract.models import TransformersSpec
from halftime.contract.models.transformers import DEFAULT_SEQUENCE_LENGTH
from halftime.plugin import ClassifiedTokens, DataShape, Images
from worker.data.layout import layout_of
from worker.errors import TrialFailed
from worker.models.transformers.config import Config, make_config
from worker.models.transformers.library import quoted
from worker.models.transformers.module import NO_TOKEN, Padding, TransformersModel
from worker.models.transformers.needs import suspected
from worker.models.transformers.rejections import explained, refused
from worker.models.transformers.sizes import data_shape, positions_of

#: How an error says that it is about the padding token, and not about a size.
NEEDS_PADDING = re.compile(r"pad_token|NoneType")
#: How torch says that sizes do not fit each other, whatever the values are.
MISFIT = re.compile(
    r"must match the size of tensor|is invalid for input of size|shapes cannot be multiplied|same reduction dim"
    r"|expected shape should be broadcastable|Sizes of tensors must match"
)
#: Architectures that lengthen samples with the padding token, up to a multiple of their window or block.
PADS_ITSELF = {"big_bird", "bigbird_pegasus", "led", "longformer"}
#: Samples of a rehearsal: the least of a batch that batch norm trains with.
SAMPLES = 2
#: Sizes that architectures divide images by.
IMAGE_MULTIPLE = 32


@dataclass(frozen=True)
class Rehearsal:
    """What a model did on the meta device."""

    #: Why the model cannot be trained; None if nothing was found.
    error: str | None = None
    #: False if the model reads values, which the meta device lacks.
    complete: bool = True


class Truths(TorchDispatchMode):  # type: ignore[no-untyped-call] # torch has no types here
    """Answers every question about values on the meta device, such as whether a mask is full, with yes."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.asked = False

    @override
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default and args[0].is_meta and args[0].dtype is torch.bool:
            self.asked = True
            return True
        return func(*args, **(kwargs or {}))


def find_padding(spec: TransformersSpec, config: Config, shape: DataShape) -> Padding:
    """Returns the padding tokens with which the architecture runs on data without padding.

    With a token, models may search for it in the data, which waits for the device: none is better. Some architectures
    need one though, and a sequence classifier looks for the last token that is not padding. Raises TrialFailed
    (`invalid_model`) if the architecture does not run at all.
    """
    incomplete: Padding | None = None
    error = ""
    for padding in _choices(config, shape):
        rehearsal = rehearse(spec, config, shape, padding)
        if rehearsal == Rehearsal():
            return padding
        if not rehearsal.complete:
            incomplete = padding if incomplete is None or incomplete.read is None else incomplete
        elif not NEEDS_PADDING.search(error := rehearsal.error or ""):
            raise _misfit(spec, config, shape, error)
    if incomplete is None:
        raise _misfit(spec, config, shape, error)
    return incomplete


def _choices(config: Config, shape: DataShape) -> list[Padding]:
    if isinstance(shape, Images):
        return [Padding(None)]
    if config.model_type in PADS_ITSELF:
        return [Padding(config.pad_token_id)]
    choices = [Padding(NO_TOKEN), Padding(NO_TOKEN, built=NO_TOKEN)]
    return choices if isinstance(shape, ClassifiedTokens) else [Padding(None), *choices]


def rehearse(spec: TransformersSpec, config: Config, shape: DataShape, padding: Padding) -> Rehearsal:
    """Builds the model and runs two samples, without memory for either. Raises TrialFailed if it cannot be built."""
    layout = layout_of(shape)
    dtype = torch.float32 if layout.vocab_size is None else torch.int64
    expected = (SAMPLES, *layout.target_shape, layout.num_classes)
    truths = Truths()
    try:
        with torch.device("meta"), torch.no_grad(), truths:
            model = TransformersModel(spec.trained_task, config, shape, padding)
            logits = model(torch.zeros(SAMPLES, *layout.input_shape, dtype=dtype))
    except TrialFailed:
        raise
    except MemoryError:
        return Rehearsal(complete=False)
    except Exception as error:  # the library's own code: of any type
        return Rehearsal(complete=False) if is_inconclusive(error, truths) else Rehearsal(error=quoted(error))
    return Rehearsal(error=_wrong_shape(logits, expected))


def is_inconclusive(error: Exception, truths: Truths) -> bool:
    """Whether an error may come from an answer of `Truths` or from the meta device, and not from the model.

    The meta device lacks values and some kernels, and others want a dtype.
    """
    if MISFIT.search(str(error)) or explained(quoted(error), None):
        return False
    is_metas = isinstance(error, NotImplementedError) or any(word in str(error).lower() for word in ("meta", "dtype"))
    return truths.asked or is_metas


def _wrong_shape(logits: Tensor, expected: tuple[int, ...]) -> str | None:
    actual = tuple(logits.shape)
    is_wrong = actual[:-1] != expected[:-1] or actual[-1] < expected[-1]
    return f"its logits have the shape {actual}, not {expected}" if is_wrong else None


def _misfit(spec: TransformersSpec, config: Config, shape: DataShape, error: str) -> TrialFailed:
    """Names the size that does not fit if another one does, and else the config."""
    if known := explained(error, type(config)):
        return known
    field = "image_size" if isinstance(shape, Images) else "sequence_length"
    size = shape.height if isinstance(shape, Images) else spec.sequence_length
    print(f"{field}: {size} does not run: {error}")  # in the benchmark's logs; a client reads what to change
    for other in _other_sizes(spec, config, shape):
        if _fits(spec.model_copy(update={field: other})):
            return refused(field, f"{size} does not fit this architecture with this config; {other} does.")
    return suspected(config) or refused("config", f"this model does not run on samples of its task: {error}")


def _fits(spec: TransformersSpec) -> bool:
    try:
        config = make_config(spec)
        shape = data_shape(spec, config)
        return any(rehearse(spec, config, shape, padding) == Rehearsal() for padding in _choices(config, shape))
    except TrialFailed:
        return False


def _other_sizes(spec: TransformersSpec, config: Config, shape: DataShape) -> list[int]:
    """Sizes that the architecture may be made for: its default, and rounded ones nearby."""
    if isinstance(shape, Images):
        size, default = shape.height, make_config(spec.model_copy(update={"image_size": None}))
        usual = getattr(getattr(default, "vision_config", default), "image_size", None)
        rounded = size // IMAGE_MULTIPLE * IMAGE_MULTIPLE
        sizes = [usual, rounded, rounded + IMAGE_MULTIPLE, size // 2, 2 * size]
    else:
        length = spec.sequence_length or DEFAULT_SEQUENCE_LENGTH
        rounded = 2 ** (length.bit_length() - 1)
        sizes = [positions_of(spec, config), rounded, 2 * rounded]
    return [size for size in dict.fromkeys(sizes) if isinstance(size, int) and size > 0]
