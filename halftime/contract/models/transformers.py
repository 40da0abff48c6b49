"""Any architecture of the `transformers` library, with random weights."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, ValidationError, model_validator

from halftime.contract.models.model_types import MODEL_TYPES, NOT_TRAINED
from halftime.contract.models.overrides import Overrides, Place, check_overrides, refusal
from halftime.contract.models.presets import PRESETS, PresetName, TransformersTask
from halftime.contract.models.published import labels_of
from halftime.contract.strict import Input

#: Largest height and width of an image, in pixels.
MAX_IMAGE_SIZE = 1024

#: Default tokens in a sample, unless the architecture has fewer positions.
DEFAULT_SEQUENCE_LENGTH = 512
#: A masked token needs a token on each side.
LEAST_MASKED_LENGTH = 3
#: A question and an answer, or a caption, of the synthetic data.
LEAST_SPAN_LENGTH = LEAST_CAPTION_LENGTH = 5

LEAST_LENGTHS: dict[TransformersTask, int] = {
    "masked-lm": LEAST_MASKED_LENGTH,
    "question-answering": LEAST_SPAN_LENGTH,
    "contrastive": LEAST_CAPTION_LENGTH,
}

MAX_CLASSES = 100_000
#: The library ignores pixels labelled 255.
MAX_PIXEL_CLASSES = 255
#: Of ImageNet, a pair of labels, the tags of CoNLL-2003, ADE20K and COCO.
DEFAULT_CLASSES: dict[TransformersTask, int] = {
    "image-classification": 1000,
    "sequence-classification": 2,
    "token-classification": 9,
    "semantic-segmentation": 150,
    "object-detection": 91,
}

#: Tasks whose samples have images, and those that have nothing else, and so no length.
IMAGE_TASKS = {"image-classification", "semantic-segmentation", "object-detection", "contrastive"}
WITHOUT_LENGTH = IMAGE_TASKS - {"contrastive"}


class TransformersSpec(Input):
    """An architecture named by `preset` or `model_type`, with overrides of its config. Nothing is downloaded.

    Weights are random. Vocabulary, positions, image size and labels of the data follow from the config.
    """

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"kind": "transformers", "preset": "gpt2", "sequence_length": 128}]}
    )

    kind: Literal["transformers"] = "transformers"
    preset: PresetName | None = Field(default=None, description="well-known architecture at its published size")
    model_type: str | None = Field(
        default=None, max_length=64, description="the library's name of an architecture, instead of a preset"
    )
    task: TransformersTask | None = Field(default=None, description="task to train for; null: the preset's task")
    config: Annotated[Overrides, AfterValidator(check_overrides)] = Field(
        default={},
        description="settings of the architecture's config, which override those of the preset; a whole published "
        "`config.json` is accepted",
    )
    sequence_length: int | None = Field(
        default=None,
        ge=1,
        le=65_536,
        description="tokens in one sample, for seq2seq in the source and in the target each, for speech-seq2seq in the "
        "target; for ctc samples of the waveform or frames, for time-series-forecasting steps of the past; null: the "
        f"architecture's number of positions, at most {DEFAULT_SEQUENCE_LENGTH}; docs/requests.md has those of speech",
    )
    image_size: int | None = Field(
        default=None,
        ge=1,
        le=MAX_IMAGE_SIZE,
        description="height and width in pixels; null: the architecture's default, or 224",
    )
    num_classes: int | None = Field(
        default=None,
        ge=2,
        le=MAX_CLASSES,
        description="number of classes of a classification, of pixels (with the background) or of objects; null: the "
        "config's labels, else 1000 for images, 2 for sequences, 9 for tokens, 150 for pixels, 91 for objects",
    )

    @model_validator(mode="after")
    def _names_an_architecture(self) -> Self:
        if (self.preset is None) == (self.model_type is None):
            raise _refused("preset", "give either `preset` or `model_type`")
        if self.preset is None and self.task is None:
            raise _refused("task", "`model_type` needs a task: " + ", ".join(MODEL_TYPES))
        if self.architecture not in set().union(*MODEL_TYPES.values()):
            raise _refused("model_type", "the library does not support this architecture for any task")
        if self.architecture not in MODEL_TYPES[self.trained_task]:
            supported = [task for task, model_types in MODEL_TYPES.items() if self.architecture in model_types]
            raise _refused(
                "task", f"this architecture does not support {self.trained_task}; it supports {', '.join(supported)}"
            )
        if why := NOT_TRAINED[self.trained_task].get(self.architecture):
            raise _refused("task", f"{why}; choose another task or architecture")
        return self

    @model_validator(mode="after")
    def _asks_for_what_the_task_has(self) -> Self:
        task = self.trained_task
        if self.sequence_length is not None and task in WITHOUT_LENGTH:
            raise _refused("sequence_length", "images have no sequence length")
        if self.image_size is not None and task not in IMAGE_TASKS:
            raise _refused("image_size", f"{task} has no images")
        if self.num_classes is not None and task not in DEFAULT_CLASSES:
            raise _refused("num_classes", f"{task} does not predict classes")
        if self.sequence_length is not None and self.sequence_length < LEAST_LENGTHS.get(task, 1):
            raise _refused("sequence_length", f"{task} needs at least {LEAST_LENGTHS[task]} tokens")
        return self

    @model_validator(mode="after")
    def _agrees_with_its_config(self) -> Self:
        """A pasted file's own type, classes and image size may not contradict the fields of the request."""
        model_type = self.config.get("model_type")
        if model_type is not None and model_type != self.architecture:
            raise _refused(("config", "model_type"), f"differs from the model's architecture, {self.architecture}")
        if self.trained_task in DEFAULT_CLASSES:
            self._check_classes()
        sizes = [size for size in (self.image_size, self.config.get("image_size")) if size is not None]
        if len(sizes) == 2 and sizes[1] not in (sizes[0], [sizes[0], sizes[0]]):
            raise _refused(("config", "image_size"), "differs from the field `image_size`; omit one of them")
        return self

    def _check_classes(self) -> None:
        labels = self.config.get("num_labels")
        if labels is not None and self.num_classes is not None and labels != self.num_classes:
            raise _refused(("config", "num_labels"), "differs from `num_classes`; omit one of them")
        if not 2 <= self.classes <= MAX_CLASSES:
            place = "num_labels" if labels is not None else "id2label"
            raise _refused(("config", place), f"must have 2 to {MAX_CLASSES:,} classes; or use `num_classes`")
        if self.trained_task == "semantic-segmentation" and self.classes > MAX_PIXEL_CLASSES:
            raise _refused("num_classes", f"must be at most {MAX_PIXEL_CLASSES}: label 255 is an ignored pixel")
        if self.config.get("problem_type") not in (None, "single_label_classification"):
            raise _refused(("config", "problem_type"), "each sample has one of the classes here; omit it")

    @property
    def architecture(self) -> str:
        """The library's name of the architecture."""
        name = PRESETS[self.preset].model_type if self.preset else self.model_type
        assert name is not None
        return name

    @property
    def trained_task(self) -> TransformersTask:
        """The task; the preset's if none is given."""
        task = self.task or (PRESETS[self.preset].task if self.preset else None)
        assert task is not None
        return task

    @property
    def settings(self) -> dict[str, Any]:
        """The preset's config with the overrides applied; a published file's rotary settings find their place."""
        if self.preset is None:
            return self.config
        preset = dict(PRESETS[self.preset].config)
        if "rope_scaling" in self.config:
            preset.pop("rope_parameters", None)
        elif "rope_theta" in self.config and "rope_parameters" in preset:
            preset["rope_parameters"] = preset["rope_parameters"] | {"rope_theta": self.config["rope_theta"]}
        return preset | self.config

    @property
    def classes(self) -> int:
        """Number of classes of a classification: of the request, its config, or the default."""
        if self.num_classes is not None:
            return self.num_classes
        labels = labels_of(self.config)
        return DEFAULT_CLASSES[self.trained_task] if labels is None else labels

    def parameter_count(self) -> None:
        """Returns None: only the library knows it, and the worker counts the parameters."""

    def training_flops_per_sample(self) -> None:
        """Returns None: only the library knows it."""


def _refused(field: str | Place, reason: str) -> ValidationError:
    """Creates an error at one field, although several fields caused it."""
    place = (field,) if isinstance(field, str) else field
    return ValidationError.from_exception_data("model", [refusal(place, reason)])
