"""Finds the shape of the data in an architecture's config."""

from typing import Any

from halftime.contract.models import TransformersSpec
from halftime.contract.models.transformers import DEFAULT_SEQUENCE_LENGTH, LEAST_LENGTHS, MAX_IMAGE_SIZE
from halftime.plugin import CausalTokens, ClassifiedTokens, DataShape, Images, MaskedTokens, TokenPairs
from worker.models.transformers.config import Config, ends_with_a_token, text_config, vocabulary
from worker.models.transformers.library import library
from worker.models.transformers.rejections import refused

DEFAULT_IMAGE_SIZE = 224
DEFAULT_CHANNELS = 3

#: Names of the number of positions; the smallest of those that an architecture has limits its sequences.
POSITIONS = (
    "max_position_embeddings", "max_target_positions", "max_seq_len",
    "max_encoder_position_embeddings", "max_decoder_position_embeddings",
)  # fmt: skip

#: Architectures that number positions from the padding token on, so that the first positions are never used.
POSITIONS_AFTER_PADDING = {
    "camembert", "data2vec-text", "esm", "ibert", "lilt", "longformer", "luke", "markuplm", "mpnet", "roberta",
    "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod",
}  # fmt: skip


def data_shape(spec: TransformersSpec, config: Config) -> DataShape:
    """Returns the shape of samples. Raises TrialFailed (`invalid_model`) where the request does not fit the config."""
    task = spec.trained_task
    if task == "image-classification":
        return images_of(spec, config)
    vocab_size, length = vocabulary(config), sequence_length(spec, config)
    if task == "masked-lm":
        return MaskedTokens(vocab_size, length, mask_token=vocab_size - 1)
    if task == "sequence-classification":
        return ClassifiedTokens(vocab_size - ends_with_a_token(spec, config), length, spec.classes)
    if task == "seq2seq":
        return TokenPairs(vocab_size, length, length)
    return CausalTokens(vocab_size, length)


def positions_of(spec: TransformersSpec, config: Config) -> int | None:
    """The number of positions for tokens; None if the architecture has no limit."""
    limits = [limit for part in _text_parts(config) for name in POSITIONS if (limit := _count(part, name)) is not None]
    if not limits:
        return None
    unused = 0
    if spec.architecture in POSITIONS_AFTER_PADDING:
        unused = (getattr(text_config(config), "pad_token_id", None) or 0) + 1
    return min(limits) - unused - ends_with_a_token(spec, config)


def images_of(spec: TransformersSpec, config: Config) -> Images:
    """Returns the images and the number of classes of what is in them."""
    return Images(*image_shape(spec, config), spec.classes)


def image_shape(spec: TransformersSpec, config: Config) -> tuple[int, int, int]:
    """Channels, height and width of an image."""
    seeing = getattr(config, "vision_config", config)
    size = spec.image_size or spec.config.get("image_size") or getattr(seeing, "image_size", None) or DEFAULT_IMAGE_SIZE
    sides = [size, size] if isinstance(size, int) else size
    if not isinstance(sides, list | tuple) or len(sides) != 2 or not all(map(_is_side, sides)):
        raise refused("config.image_size", f"must be a size of 1 to {MAX_IMAGE_SIZE:,} pixels, or height and width.")
    height, width = sides
    return getattr(seeing, "num_channels", DEFAULT_CHANNELS), height, width


def _is_side(side: object) -> bool:
    return isinstance(side, int) and not isinstance(side, bool) and 0 < side <= MAX_IMAGE_SIZE


def _text_parts(config: Config) -> list[Any]:
    encoder = getattr(config, "encoder", None)
    text = text_config(config)
    return [text, encoder] if isinstance(encoder, library().PreTrainedConfig) else [text]


def _count(part: Config, name: str) -> int | None:
    value = getattr(part, name, None)
    return value if isinstance(value, int) and value > 0 else None


def sequence_length(spec: TransformersSpec, config: Config) -> int:
    """The requested length, or the default limited by the number of positions."""
    positions = positions_of(spec, config)
    if positions is None:
        return spec.sequence_length or DEFAULT_SEQUENCE_LENGTH
    least = LEAST_LENGTHS.get(spec.trained_task, 1)
    if positions < least:
        raise refused(
            "config.max_position_embeddings",
            f"leaves {positions} positions for tokens; at least {least} are needed.",
        )
    if spec.sequence_length is not None and spec.sequence_length > positions:
        raise refused(
            "sequence_length", f"{spec.sequence_length} tokens, but the architecture has {positions} positions."
        )
    return spec.sequence_length or min(positions, DEFAULT_SEQUENCE_LENGTH)
