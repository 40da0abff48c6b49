"""Which fields a task of the `transformers` kind takes, and the bounds of each."""

import pytest
from pydantic import ValidationError

from halftime.contract.models import TransformersSpec
from halftime.contract.models.model_types import MODEL_TYPES


def refused_field(**fields):
    with pytest.raises(ValidationError) as caught:
        TransformersSpec(**fields)
    return caught.value.errors()[0]["loc"]


@pytest.mark.parametrize("task", ["semantic-segmentation", "object-detection", "image-classification"])
def test_images_have_no_length(task):
    model_type = min(MODEL_TYPES[task])
    assert refused_field(task=task, model_type=model_type, sequence_length=16) == ("sequence_length",)
    assert TransformersSpec(task=task, model_type=model_type, image_size=64).image_size == 64


@pytest.mark.parametrize(
    "task", ["token-classification", "question-answering", "ctc", "speech-seq2seq", "time-series-forecasting"]
)
def test_what_is_no_image_has_no_image_size(task):
    model_type = min(MODEL_TYPES[task])
    assert refused_field(task=task, model_type=model_type, image_size=64) == ("image_size",)
    assert TransformersSpec(task=task, model_type=model_type, sequence_length=16).sequence_length == 16


@pytest.mark.parametrize("task", ["question-answering", "contrastive"])
def test_a_length_too_short_for_the_task_is_refused(task):
    model_type = min(MODEL_TYPES[task])
    assert refused_field(task=task, model_type=model_type, sequence_length=4) == ("sequence_length",)
    assert TransformersSpec(task=task, model_type=model_type, sequence_length=5).sequence_length == 5


def test_pairs_of_image_and_text_have_both_sizes():
    spec = TransformersSpec(preset="clip-vit-b32", sequence_length=16, image_size=64)
    assert (spec.sequence_length, spec.image_size) == (16, 64)


@pytest.mark.parametrize("task", ["question-answering", "ctc", "speech-seq2seq", "contrastive"])
def test_what_predicts_no_classes_takes_none(task):
    assert refused_field(task=task, model_type=min(MODEL_TYPES[task]), num_classes=4) == ("num_classes",)


def test_a_pixel_has_at_most_255_classes():
    assert refused_field(preset="segformer-b0", num_classes=256) == ("num_classes",)
    assert TransformersSpec(preset="segformer-b0", num_classes=255).classes == 255


@pytest.mark.parametrize(
    ("task", "classes"), [("token-classification", 9), ("semantic-segmentation", 150), ("object-detection", 91)]
)
def test_the_default_number_of_classes_is_the_tasks(task, classes):
    assert TransformersSpec(task=task, model_type=min(MODEL_TYPES[task])).classes == classes
