"""Creates the config of an architecture from the settings of a request."""

import dataclasses
import re
from collections.abc import Iterator
from typing import Any

from halftime.contract.models import TransformersSpec
from halftime.contract.models.overrides import NO_TOKEN
from halftime.contract.models.published import is_published
from halftime.contract.models.transformers import DEFAULT_CLASSES, IMAGE_TASKS, WITHOUT_LENGTH
from worker.models.transformers.library import library, library_errors
from worker.models.transformers.needs import of_all_layers, require_what_it_needs
from worker.models.transformers.rejections import refused
from worker.models.transformers.settings import Settings, select_settings

Config = Any

WITHOUT_TOKENS = WITHOUT_LENGTH | {"time-series-forecasting"}

#: Settings that name the token in whose place an image, a film or a sound is put.
PLACEHOLDER = re.compile(r"(image|video|audio)_token_(id|index)$")

#: Settings that a config with parts takes as a whole, though it has no field for them.
OF_THE_WHOLE = {"image_size", "initializer_range", "is_decoder", "tie_word_embeddings"}

#: Detectors that read these stages of a ResNet-50.
BACKBONE_STAGES = {
    "conditional_detr": ["stage4"],
    "dab-detr": ["stage4"],
    "deformable_detr": ["stage2", "stage3", "stage4"],
    "detr": ["stage4"],
    "table-transformer": ["stage4"],
}


def make_config(spec: TransformersSpec) -> Config:
    """Creates the config; raises TrialFailed (`invalid_model`) for a setting that its class does not have."""
    with library_errors():
        config_class = library().CONFIG_MAPPING[spec.architecture]
    stated = select_settings(spec.settings, config_class, is_published(spec.config))
    settings = stated | _classes(spec) | _image_size(spec, config_class) | _context(spec) | _backbone(spec)
    with library_errors(config_class):
        config = config_class(**settings)
        require_what_it_needs(config)
    if not is_published(spec.config):
        _require_effect(stated, config)
    _read_without_seeing_ahead(spec, config, config_class)
    for part in parts(config):
        part.use_cache = False
        _fill_in(part)
    config.architectures = []  # the library reads this if there are several heads, and fails on null
    if spec.trained_task not in WITHOUT_TOKENS:
        _fit_special_tokens(spec, config)
    return config


def parts(config: Config) -> Iterator[Config]:
    """Yields a config and the configs nested in it."""
    yield config
    for _, part in _named_parts(config):
        yield from parts(part)


def text_config(config: Config) -> Config:
    """The part of the config that has the vocabulary."""
    decoder = getattr(config, "decoder", None)
    return decoder if isinstance(decoder, library().PreTrainedConfig) else config.get_text_config()


def vocabulary(config: Config) -> int:
    """Number of tokens. An architecture without a vocabulary hashes its characters into buckets."""
    text = text_config(config)
    size = getattr(text, "vocab_size", None) or getattr(text, "num_hash_buckets", None)
    if not isinstance(size, int) or size < 2:
        raise refused("config.vocab_size", f"{size} is too small a vocabulary. Use 3 tokens or more.")
    return size


def ends_with_a_token(spec: TransformersSpec, config: Config) -> bool:
    """Whether sequences end with a reserved token: encoder-decoders classify by it; it is the vocabulary's last."""
    return spec.trained_task == "sequence-classification" and bool(config.is_encoder_decoder)


def _require_effect(stated: Settings, config: Config) -> None:
    """Raises TrialFailed for a setting that a part of the config has and the whole has not: it would change nothing."""
    own = {field.name for field in dataclasses.fields(config)} | set(config.attribute_map)
    for name in stated.keys() - own - OF_THE_WHOLE:
        values = {place: getattr(part, name) for place, part in _named_parts(config) if hasattr(part, name)}
        if values and stated[name] not in values.values() and not name.endswith("_token_id"):
            raise refused(f"config.{name}", f"is a setting of {' and '.join(values)}; give it there.")


def _named_parts(config: Config) -> Iterator[tuple[str, Config]]:
    """Yields the configs nested in a config, with their names."""
    for name, value in vars(config).items():
        if isinstance(value, library().PreTrainedConfig):
            yield name, value


def _classes(spec: TransformersSpec) -> Settings:
    return {"num_labels": spec.classes} if spec.trained_task in DEFAULT_CLASSES else {}


def _context(spec: TransformersSpec) -> Settings:
    is_forecast = spec.trained_task == "time-series-forecasting"
    return {"context_length": spec.sequence_length} if is_forecast and spec.sequence_length else {}


def _backbone(spec: TransformersSpec) -> Settings:
    """The backbone of detectors whose default is a model of another package: the library's own of that size."""
    stages = BACKBONE_STAGES.get(spec.architecture)
    if stages is None or spec.settings.get("backbone_config") is not None:
        return {}
    return {"backbone_config": {"model_type": "resnet", "out_features": stages}}


def _image_size(spec: TransformersSpec, config_class: Any) -> Settings:  # noqa: ANN401
    """Setting of the image size, if the architecture has one; convolutional networks have none."""
    if spec.trained_task not in IMAGE_TASKS or spec.image_size is None:
        return {}
    fields = {field.name: field for field in dataclasses.fields(config_class)}
    if "image_size" in fields:
        is_pair = isinstance(fields["image_size"].default, list | tuple)
        return {"image_size": [spec.image_size] * 2 if is_pair else spec.image_size}
    if "vision_config" in fields:
        return {"vision_config": (spec.settings.get("vision_config") or {}) | {"image_size": spec.image_size}}
    return {}


def _read_without_seeing_ahead(spec: TransformersSpec, config: Config, config_class: Any) -> None:  # noqa: ANN401
    """An encoder that is trained as a causal language model would see the tokens that it predicts."""
    if spec.trained_task != "causal-lm" or config.is_encoder_decoder:
        return
    for field in dataclasses.fields(config_class):
        if field.name in {"is_decoder", "causal"}:
            setattr(config, field.name, True)


def _fill_in(part: Config) -> None:
    """Fills in settings whose default is documented, but left at null by some architectures."""
    if vars(part).get("languages") and vars(part).get("default_language", "") is None:
        part.default_language = part.languages[0]
    heads, width = of_all_layers(part, "num_attention_heads"), of_all_layers(part, "hidden_size")
    if not isinstance(heads, int) or not isinstance(width, int):
        return
    derived = {"num_key_value_heads": heads, "head_dim": width // heads if heads else None}
    for name, value in derived.items():
        if vars(part).get(name, value) is None:
            setattr(part, name, value)


def _fit_special_tokens(spec: TransformersSpec, config: Config) -> None:
    """Moves special tokens that are outside the (smaller) vocabulary to its last token.

    No token of a text stands for an image or a sound: models would put another one in its place.
    """
    size = vocabulary(config)
    for part in parts(config):
        for name, value in list(vars(part).items()):
            if PLACEHOLDER.search(name) and isinstance(value, int):
                setattr(part, name, NO_TOKEN)
            elif name.endswith("_token_id") and value is not None:
                _fit_special_token(spec, part, name, size)
        if ends_with_a_token(spec, config):
            part.eos_token_id = size - 1


def _fit_special_token(spec: TransformersSpec, part: Config, name: str, size: int) -> None:
    value = getattr(part, name)
    tokens = value if isinstance(value, list) else [value]
    if all(0 <= token < size for token in tokens):
        return
    stated = spec.config.get(name)
    if name == "pad_token_id" and isinstance(stated, int) and stated >= size:
        raise refused(f"config.{name}", f"{value} is not in the vocabulary of {size} tokens.")
    setattr(part, name, size - 1)
