"""The torch module of an architecture: one input tensor of a task's data → logits."""

import copy
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from halftime.contract.models.presets import TransformersTask
from halftime.plugin import ClassifiedTokens, DataShape, Images, TokenPairs
from worker.data.synthetic.language import START_TOKEN
from worker.models.transformers.config import Config, parts, text_config
from worker.models.transformers.library import library, library_errors

#: The class of the library that builds an architecture with the head of a task.
AUTO_CLASSES: dict[TransformersTask, str] = {
    "causal-lm": "AutoModelForCausalLM",
    "masked-lm": "AutoModelForMaskedLM",
    "sequence-classification": "AutoModelForSequenceClassification",
    "image-classification": "AutoModelForImageClassification",
    "seq2seq": "AutoModelForSeq2SeqLM",
}


#: An id that no token has.
NO_TOKEN = -1


@dataclass(frozen=True)
class Padding:
    """The padding token of a model, whose data have no padding."""

    #: The token that it reads at every forward pass.
    read: int | None
    #: The token that its embeddings are built with, instead of the config's; None: the config's.
    built: int | None = None


class TransformersModel(nn.Module):
    """One input tensor of a shape in `halftime/plugin.py` → logits of the architecture's head for the task."""

    def __init__(self, task: TransformersTask, config: Config, shape: DataShape, padding: Padding) -> None:
        super().__init__()
        config = copy.deepcopy(config)
        if padding.built is not None:
            set_padding(config, padding.built)
        with library_errors(type(config)):
            self.model: nn.Module = getattr(library(), AUTO_CLASSES[task]).from_config(config)
        self._shape = shape
        self._last_token: int | None = None
        if not isinstance(shape, Images):
            set_padding(self.model.config, padding.read)
        if isinstance(shape, ClassifiedTokens) and config.is_encoder_decoder:
            self._last_token = text_config(config).eos_token_id

    @override
    def forward(self, inputs: Tensor) -> Tensor:
        """Returns logits whose last dimension is the classes or tokens."""
        output = self.model(**self._arguments(inputs))
        logits = output["logits" if "logits" in output else "last_hidden_state"]  # a few heads name them like a layer
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


def set_padding(config: Config, padding: int | None) -> None:
    """Sets the padding token: the one that embeddings are built with, or later the one read at every forward pass.

    Set through `__dict__` to avoid the config's check, which requires a token of the vocabulary.
    """
    for part in parts(config):
        settings: dict[str, Any] = part.__dict__
        settings["pad_token_id"] = padding
        settings.setdefault("decoder_start_token_id", START_TOKEN)
