"""Padded dimensions, where matrix products in half precision are far from the rate of a GPU."""

import math
from collections.abc import Iterator, Sequence

from halftime.contract.models import (
    ConvnetSpec,
    DitSpec,
    DlrmSpec,
    MlpSpec,
    ModelSpec,
    TransformerSpec,
    TransformersSpec,
)
from halftime.contract.report.explanation import Advice
from worker.explain.advice.facts import FAR_FROM_PEAK, Facts
from worker.explain.advice.requests import changed
from worker.explain.advice.words import percent

#: Multiples that tensor cores need for full use (NVIDIA, "Matrix Multiplication Background User's Guide"); of
#: vocabularies, whose products are the largest, a tile's width.
MULTIPLE, VOCABULARY_MULTIPLE = 8, 64

#: Names that architectures give to the width of the residual stream, and to the number of attention heads, which
#: divides it.
WIDTH_NAMES, HEAD_NAMES = ("hidden_size", "n_embd", "d_model", "dim"), ("num_attention_heads", "n_head", "num_heads")
#: Those of widths that nothing has to divide.
FREE_NAMES = ("intermediate_size", "d_ff", "n_inner", "hidden_dim")


def padded_dimensions(facts: Facts) -> Advice | None:
    """Advises dimensions in multiples of 8, and of 64 for a vocabulary.

    At most, the products of padded dimensions run at the device's rate of matrix products: of their time P, at a
    share s of it, P (1 - s) goes. Where the vocabulary alone is padded, P is the share of its weights among all. At
    least nothing: the dimensions need not be what holds the products back.
    """
    share = facts.share_of_peak
    if facts.device.kind != "cuda" or not facts.is_half or share is None or share >= FAR_FROM_PEAK:
        return None
    padded = {name: value for name, old, value in paddings(facts.request.model) if value != old}
    if not padded:
        return None
    affected = vocabulary_share(facts) if set(padded) <= {"vocab_size", "config.vocab_size"} else 1.0
    products = facts.split.seconds("matrix_products") * affected
    return Advice(
        name="padded_dimensions",
        text=f"Pad dimensions to multiples that tensor cores need: {_words(padded)}.",
        evidence=(
            f"matrix products reach at most {percent(share)} of the rate of the device's fastest, and "
            f"{', '.join(padded)} {'is' if len(padded) == 1 else 'are'} no multiple of {MULTIPLE} "
            f"({VOCABULARY_MULTIPLE} for a vocabulary)."
        ),
        estimated_gain=facts.split.gains(0.0, products * (1 - share)),
        request=changed(facts.request, model=with_sizes(facts.request.model, padded)),
    )


def paddings(model: ModelSpec) -> Iterator[tuple[str, int | list[int], int | list[int]]]:
    """Yields the name, the size and the padded size of every dimension that may be padded, in names of the request.

    The dimensions of samples are left as they are: data has them.
    """
    match model:
        case TransformerSpec():
            yield "vocab_size", model.vocab_size, padded_to(VOCABULARY_MULTIPLE, model.vocab_size)
            yield "hidden_size", model.hidden_size, _padded_width(model.hidden_size, model.num_heads)
        case MlpSpec():
            yield "hidden_size", model.hidden_size, padded_to(MULTIPLE, model.hidden_size)
        case ConvnetSpec():
            yield "widths", model.widths, _all_padded(model.widths)
        case DitSpec():
            yield "hidden_size", model.hidden_size, _padded_width(model.hidden_size, model.num_heads)
        case DlrmSpec():
            yield "embedding_dim", model.embedding_dim, padded_to(MULTIPLE, model.embedding_dim)
            yield "bottom_widths", model.bottom_widths, _all_padded(model.bottom_widths)
            yield "top_widths", model.top_widths, _all_padded(model.top_widths)
        case TransformersSpec():
            yield from _of_an_architecture(model)


def _of_an_architecture(model: TransformersSpec) -> Iterator[tuple[str, int, int]]:
    """Of the settings that are stated, by the preset or the request; a width only with its number of heads."""
    sizes = {name: value for name, value in model.settings.items() if isinstance(value, int) and value > 0}
    heads = next((sizes[name] for name in HEAD_NAMES if name in sizes), None)
    for name, size in sizes.items():
        if name == "vocab_size":
            yield f"config.{name}", size, padded_to(VOCABULARY_MULTIPLE, size)
        elif name in FREE_NAMES:
            yield f"config.{name}", size, padded_to(MULTIPLE, size)
        elif name in WIDTH_NAMES and heads:
            yield f"config.{name}", size, _padded_width(size, heads)


def padded_to(multiple: int, size: int) -> int:
    """The smallest multiple that is not less than a size."""
    return math.ceil(size / multiple) * multiple


def _padded_width(size: int, heads: int) -> int:
    """A width that the number of heads divides, as it is if it is a multiple of 8."""
    return size if size % MULTIPLE == 0 else padded_to(math.lcm(MULTIPLE, heads), size)


def _all_padded(sizes: Sequence[int]) -> list[int]:
    return [padded_to(MULTIPLE, size) for size in sizes]


def with_sizes(model: ModelSpec, sizes: dict[str, int | list[int]]) -> dict[str, object]:
    """The model's fields as JSON, with these sizes."""
    fields = model.model_dump(mode="json")
    for name, size in sizes.items():
        owner, _, setting = name.rpartition(".")
        (fields[owner] if owner else fields)[setting] = size
    return fields


def vocabulary_share(facts: Facts) -> float:
    """Share of the weights that multiply into the vocabulary; all of them if it is unknown."""
    model = facts.request.model
    settings = model.settings if isinstance(model, TransformersSpec) else model.model_dump()
    sizes = {name: value for name, value in settings.items() if isinstance(value, int)}
    width = next((sizes[name] for name in WIDTH_NAMES if name in sizes), None)
    if width is None or "vocab_size" not in sizes:
        return 1.0
    return min(1.0, sizes["vocab_size"] * width / facts.trial.parameter_count)


def _words(padded: dict[str, int | list[int]]) -> str:
    return ", ".join(f"{name} {size}" for name, size in padded.items())
