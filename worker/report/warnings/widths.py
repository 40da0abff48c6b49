"""The widths of the matrix products of a model."""

from halftime.contract.models import (
    ConvnetSpec,
    DiffusersSpec,
    DitSpec,
    DlrmSpec,
    LayersSpec,
    MlpSpec,
    ModelSpec,
    TransformerSpec,
    TransformersSpec,
)

#: Config settings that set the dimensions of matrix products.
TRANSFORMERS_WIDTHS = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "n_embd",
    "d_model",
    "d_ff",
    "dim",
    "hidden_dim",
)


def widths(model: ModelSpec) -> list[tuple[str, int]]:  # noqa: PLR0911 # one return for every kind
    """Returns the fields of a request that are widths, with their values; empty for a plugin's model."""
    if isinstance(model, MlpSpec):
        return [("input_size", model.input_size), ("hidden_size", model.hidden_size)]
    if isinstance(model, ConvnetSpec):
        return [("widths", width) for width in model.widths]
    if isinstance(model, LayersSpec):  # without the last, whose width is the number of classes or tokens
        return [(f"a layer's width of {width}", width) for width in dict.fromkeys(model.matrix_widths()[:-1])]
    if isinstance(model, TransformerSpec):
        return [("vocab_size", model.vocab_size), ("hidden_size", model.hidden_size)]
    if isinstance(model, TransformersSpec):
        return [(f"config.{name}", size) for name, size in model.settings.items() if name in TRANSFORMERS_WIDTHS]
    if isinstance(model, DitSpec):
        return [("hidden_size", model.hidden_size)]
    if isinstance(model, DlrmSpec):
        bottom, top = ([(name, width) for width in getattr(model, name)] for name in ("bottom_widths", "top_widths"))
        return [("embedding_dim", model.embedding_dim), *bottom, *top]
    if isinstance(model, DiffusersSpec):
        return [("config.block_out_channels", width) for width in _block_widths(model)]
    return []


def _block_widths(model: DiffusersSpec) -> list[int]:
    found = model.config.get("block_out_channels", [])
    return [width for width in found if isinstance(width, int)] if isinstance(found, list) else []
