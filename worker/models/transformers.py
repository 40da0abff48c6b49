"""Builds architectures of the `transformers` library, with random weights and without downloads.

Dropout stays as configured: training is seeded, and the comparison with FP64 disables it for its one step
(`worker/proof/numerics.py`).
"""

import copy
import dataclasses
import difflib
import functools
import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from halftime.contract.models import TransformersSpec
from halftime.contract.models.presets import TransformersTask
from halftime.contract.models.transformers import DEFAULT_SEQUENCE_LENGTH, LEAST_MASKED_LENGTH
from halftime.contract.report.failure import FailureCode
from halftime.plugin import Blueprint, CausalTokens, ClassifiedTokens, DataShape, Images, MaskedTokens, TokenPairs
from worker.data.synthetic.language import START_TOKEN
from worker.errors import TrialFailed
from worker.errors.out_of_memory import is_out_of_memory

AUTO_CLASSES: dict[TransformersTask, str] = {
    "causal-lm": "AutoModelForCausalLM",
    "masked-lm": "AutoModelForMaskedLM",
    "sequence-classification": "AutoModelForSequenceClassification",
    "image-classification": "AutoModelForImageClassification",
    "seq2seq": "AutoModelForSeq2SeqLM",
}

DEFAULT_IMAGE_SIZE = 224
DEFAULT_CHANNELS = 3

#: Architectures that number positions from the padding token on, so that the first positions are never used.
POSITIONS_AFTER_PADDING = {
    "camembert", "data2vec-text", "esm", "ibert", "lilt", "longformer", "luke", "markuplm", "mpnet", "roberta",
    "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod",
}  # fmt: skip

#: An id that no token has.
NO_TOKEN = -1

#: Prefixes of torch's errors of the device rather than of the model.
DEVICE_ERRORS = ("CUDA", "cuDNN", "CUBLAS")


def transformers_blueprint(spec: TransformersSpec) -> Blueprint:
    """Returns the blueprint of a spec. Raises TrialFailed (`invalid_model`) naming the field that is not accepted."""
    config = _make_config(spec)
    shape = _shape(spec, config)
    return Blueprint(shape, partial(TransformersModel, spec.trained_task, config, shape))


class TransformersModel(nn.Module):
    """One input tensor of a shape in `halftime/plugin.py` → logits of the architecture's head for the task."""

    def __init__(self, task: TransformersTask, config: Any, shape: DataShape) -> None:  # noqa: ANN401 # the library's
        super().__init__()
        with _library_errors():
            self.model: nn.Module = getattr(_library(), AUTO_CLASSES[task]).from_config(copy.deepcopy(config))
        self._shape = shape
        self._last_token: int | None = None
        if not isinstance(shape, Images):
            # Read at every forward pass. With a padding token the library searches for it in the data, which waits for
            # the device; but a sequence classifier needs the end of a sequence, the last token that is not padding.
            # Set through `vars` to avoid the config's check, which requires a token of the vocabulary.
            settings = vars(_text_config(self.model.config))
            settings["pad_token_id"] = NO_TOKEN if isinstance(shape, ClassifiedTokens) else None
            settings.setdefault("decoder_start_token_id", START_TOKEN)
            if isinstance(shape, ClassifiedTokens) and config.is_encoder_decoder:
                self._last_token = settings["eos_token_id"]

    @override
    def forward(self, inputs: Tensor) -> Tensor:
        """Returns logits whose last dimension is the classes or tokens."""
        logits = self.model(**self._arguments(inputs)).logits
        assert isinstance(logits, Tensor)
        return logits

    def _arguments(self, inputs: Tensor) -> dict[str, Tensor]:
        if isinstance(self._shape, Images):
            return {"pixel_values": inputs}
        if isinstance(self._shape, TokenPairs):
            source_length = self._shape.source_length
            return {"input_ids": inputs[:, :source_length], "decoder_input_ids": inputs[:, source_length:]}
        if self._last_token is not None:
            inputs = functional.pad(inputs, (0, 1), value=self._last_token)
        return {"input_ids": inputs}


@functools.cache
def _library() -> Any:  # noqa: ANN401 # a module imported only on demand: it takes seconds
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")
    library = importlib.import_module("transformers")
    library.logging.set_verbosity_error()
    return library


@contextmanager
def _library_errors() -> Iterator[None]:
    """Turns exceptions of the library into TrialFailed (`invalid_model`); passes on errors of the device."""
    try:
        yield
    except (TrialFailed, MemoryError):
        raise
    except Exception as error:
        text = " ".join(str(error).split())
        if isinstance(error, RuntimeError) and (is_out_of_memory(error) or any(name in text for name in DEVICE_ERRORS)):
            raise
        raise _invalid(f"The transformers library rejected this model: {type(error).__name__}: {text[:300]}") from error


def _invalid(why: str) -> TrialFailed:
    return TrialFailed.because(FailureCode.INVALID_MODEL, why)


def _make_config(spec: TransformersSpec) -> Any:  # noqa: ANN401
    """Creates the config of the architecture; rejects settings that its class does not have."""
    with _library_errors():
        config_class = _library().CONFIG_MAPPING[spec.architecture]
    setting_names = _known_settings(config_class)
    _check_settings(spec.settings, config_class, "config")
    settings: dict[str, Any] = dict(spec.settings)
    if spec.trained_task == "image-classification":
        settings["num_labels"] = spec.classes
        if spec.image_size is not None:
            settings |= _image_size(spec, setting_names)
    if spec.trained_task == "sequence-classification":
        settings["num_labels"] = spec.classes
    with _library_errors():
        config = config_class(**settings)
        text = _text_config(config)
        if spec.trained_task == "causal-lm" and not getattr(config, "is_encoder_decoder", False):
            for name in {"is_decoder", "causal"} & setting_names:  # an encoder would see the tokens that it predicts
                setattr(config, name, True)
        for part in (config, text):
            part.use_cache = False
        config.architectures = []  # the library reads this if there are several heads, and fails on null
    if spec.trained_task != "image-classification":
        _fit_special_tokens(spec, text)
    return config


def _image_size(spec: TransformersSpec, setting_names: set[str]) -> dict[str, Any]:
    """Setting of the image size, if the architecture has one; convolutional networks have none."""
    if "image_size" in setting_names:
        return {"image_size": spec.image_size}
    if "vision_config" in setting_names:
        return {"vision_config": spec.settings.get("vision_config", {}) | {"image_size": spec.image_size}}
    return {}


def _known_settings(config_class: Any) -> set[str]:  # noqa: ANN401
    return {field.name for field in dataclasses.fields(config_class)} | set(config_class.attribute_map)


def _check_settings(settings: dict[str, Any], config_class: Any, place: str) -> None:  # noqa: ANN401
    """Rejects unknown setting names, which the library itself would accept."""
    setting_names = _known_settings(config_class)
    for name, value in settings.items():
        if name not in setting_names:
            near = difflib.get_close_matches(name, setting_names, n=3)
            hint = f" Did you mean {', '.join(near)}?" if near else ""
            raise _invalid(f"{place}.{name}: {config_class.__name__} has no such setting.{hint}")
        part = config_class.sub_configs.get(name)
        if isinstance(value, dict) and part is not None and dataclasses.is_dataclass(part):
            _check_settings(value, part, f"{place}.{name}")


def _text_config(config: Any) -> Any:  # noqa: ANN401
    """The part of the config that has the vocabulary."""
    return config.get_text_config()


def _fit_special_tokens(spec: TransformersSpec, text: Any) -> None:  # noqa: ANN401
    """Moves special tokens that are outside the (smaller) vocabulary to its last token."""
    vocab_size = _vocab_size(text)
    for name, value in list(vars(text).items()):
        if not name.endswith("_token_id") or value is None:
            continue
        ids = value if isinstance(value, list) else [value]
        if any(not 0 <= token < vocab_size for token in ids):
            if name in spec.config:
                raise _invalid(f"config.{name}: {value} is not in the vocabulary of {vocab_size} tokens.")
            setattr(text, name, vocab_size - 1)
    if _ends_with_a_token(spec, text):
        text.eos_token_id = vocab_size - 1


def _ends_with_a_token(spec: TransformersSpec, text: Any) -> bool:  # noqa: ANN401
    """Whether sequences end with a reserved token: encoder-decoders classify by it; it is the vocabulary's last."""
    return spec.trained_task == "sequence-classification" and text.is_encoder_decoder


def _shape(spec: TransformersSpec, config: Any) -> DataShape:  # noqa: ANN401
    task = spec.trained_task
    if task == "image-classification":
        return _images(spec, config)
    text = _text_config(config)
    vocab_size, length = _vocab_size(text), _sequence_length(spec, text)
    if task == "masked-lm":
        return MaskedTokens(vocab_size, length, mask_token=vocab_size - 1)
    if task == "sequence-classification":
        return ClassifiedTokens(vocab_size - _ends_with_a_token(spec, text), length, spec.classes)
    if task == "seq2seq":
        return TokenPairs(vocab_size, length, length)
    return CausalTokens(vocab_size, length)


def _images(spec: TransformersSpec, config: Any) -> Images:  # noqa: ANN401
    seeing = getattr(config, "vision_config", config)
    size = spec.image_size or getattr(seeing, "image_size", None) or DEFAULT_IMAGE_SIZE
    height, width = (size, size) if isinstance(size, int) else size
    return Images(getattr(seeing, "num_channels", DEFAULT_CHANNELS), height, width, spec.classes)


def _vocab_size(text: Any) -> int:  # noqa: ANN401
    size = getattr(text, "vocab_size", None)
    if not isinstance(size, int) or size < 2:
        raise _invalid(f"config.vocab_size: {size} is too small a vocabulary. Use 3 tokens or more.")
    return size


def _sequence_length(spec: TransformersSpec, text: Any) -> int:  # noqa: ANN401
    """The requested length, or the default limited by the number of positions."""
    positions = getattr(text, "max_position_embeddings", None)
    if not isinstance(positions, int) or positions < 1:
        return spec.sequence_length or DEFAULT_SEQUENCE_LENGTH
    if spec.architecture in POSITIONS_AFTER_PADDING:
        positions -= (text.pad_token_id or 0) + 1
    positions -= _ends_with_a_token(spec, text)
    least = LEAST_MASKED_LENGTH if spec.trained_task == "masked-lm" else 1
    if positions < least:
        raise _invalid(
            f"config.max_position_embeddings: leaves {positions} positions for tokens; at least {least} are needed."
        )
    if spec.sequence_length is not None and spec.sequence_length > positions:
        raise _invalid(
            f"sequence_length: {spec.sequence_length} tokens, but the architecture has {positions} positions."
        )
    return spec.sequence_length or min(positions, DEFAULT_SEQUENCE_LENGTH)
