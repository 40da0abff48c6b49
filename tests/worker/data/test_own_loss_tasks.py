"""Synthetic data of tasks with the models' own losses: its optimum is what someone who knows the rule scores."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from halftime.plugin import Images
from worker.data.source import seeded
from worker.data.synthetic.captions import CaptionSource
from worker.data.synthetic.colours import NOISE, Palette
from worker.data.synthetic.label_noise import LABEL_NOISE
from worker.data.synthetic.labelled_tokens import LabelledTokensSource
from worker.data.synthetic.scenes import BACKGROUND, OBJECTS, DetectionSource, SegmentationSource, draw_boxes
from worker.data.synthetic.series import SeriesSource
from worker.data.synthetic.spans import SpanSource
from worker.data.synthetic.speech import ALPHABET, Spectrogram, SpeechSource, Waveform, spoken_alphabet
from worker.tasks.detection import ious


def test_knowing_the_rule_of_labels_scores_the_optimum():
    source = LabelledTokensSource(30, 12, 5, seeded("task", 0))
    batch = source.sample("validation", 4000, seeded("samples", 0))
    right = (source.rule(batch["input_ids"]) == batch["labels"]).double().mean()
    assert float(right) == pytest.approx(source.best_possible_accuracy, abs=0.005)
    probability = 1 - LABEL_NOISE + LABEL_NOISE / 5
    loss = -right * math.log(probability) - (1 - right) * math.log(LABEL_NOISE / 5)
    assert float(loss) == pytest.approx(source.best_possible_loss, abs=0.02)


def test_a_label_depends_on_the_token_before_it():
    source = LabelledTokensSource(30, 12, 5, seeded("task", 0))
    tokens = torch.randint(30, (200, 2), generator=seeded("samples", 0))
    of_itself = (source.rule(tokens)[:, 1] == source.classes[tokens[:, 1]]).double().mean()
    assert 0.4 < float(of_itself) < 0.8


@given(vocab_size=st.integers(5, 60), length=st.integers(5, 40), seed=st.integers(0, 5))
def test_the_answer_is_between_the_marks_that_the_question_names(vocab_size, length, seed):
    source = SpanSource(vocab_size, length, seeded("task", seed))
    batch = source.sample("training", 50, seeded("samples", seed))
    tokens, starts, ends = batch["input_ids"], batch["start_positions"], batch["end_positions"]
    questions, openings, closings = source.marks
    kinds = (tokens[:, :1] == questions).int().argmax(dim=1)
    assert bool((tokens[:, 0] == questions[kinds]).all())
    assert bool(((starts > 0) & (starts < ends) & (ends < length)).all())
    for marks, places in ((openings, starts), (closings, ends)):
        of_kind = tokens == marks[kinds][:, None]
        assert bool((of_kind.sum(dim=1) == 1).all())
        assert torch.equal(of_kind.int().argmax(dim=1), places)
    assert int(tokens.max()) < vocab_size - 1


@given(colours=st.integers(2, 200), channels=st.integers(1, 4))
def test_a_colour_is_known_from_a_noisy_pixel(colours, channels):
    palette = Palette(colours, channels, seeded("task", 0))
    pixels = torch.randint(colours, (2, 5, 5), generator=seeded("samples", 0))
    images = palette.paint(pixels, seeded("noise", 0))
    distances = (images.movedim(1, -1)[..., None, :] - palette.colours).abs().amax(dim=-1)
    assert torch.equal(distances.argmin(dim=-1), pixels)
    assert NOISE < 0.5


def test_boxes_do_not_overlap_and_are_within_the_image():
    boxes = draw_boxes(500, seeded("samples", 0))
    overlaps = ious(boxes, boxes)
    assert torch.allclose(overlaps, torch.eye(OBJECTS).expand_as(overlaps), atol=1e-5)
    low, high = boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2
    assert float(low.min()) >= 0
    assert float(high.max()) <= 1


def test_a_box_encloses_the_pixels_of_its_object_up_to_a_pixel():
    size = 64
    source = DetectionSource(Images(3, size, size, 5), seeded("task", 0))
    _, pixels, classes, boxes = source.scenes.draw(50, seeded("samples", 0))
    for image, image_classes, image_boxes in zip(pixels, classes, boxes, strict=True):
        if len(image_classes.unique()) < OBJECTS:
            continue
        for label, (x, y, width, height) in zip(image_classes, (size * image_boxes).tolist(), strict=True):
            rows, columns = (image == label).nonzero(as_tuple=True)
            found = [int(columns.min()), int(columns.max()) + 1, int(rows.min()), int(rows.max()) + 1]
            sides = [x - width / 2, x + width / 2, y - height / 2, y + height / 2]
            assert found == pytest.approx(sides, abs=2.0)


def test_a_segmentation_has_the_background_and_every_class():
    source = SegmentationSource(Images(3, 32, 32, 6), seeded("task", 0))
    labels = source.sample("training", 100, seeded("samples", 0))["labels"]
    assert labels.unique().tolist() == list(range(6))
    assert 0.3 < float((labels == BACKGROUND).double().mean()) < 0.9


def test_a_detections_classes_are_without_the_background():
    source = DetectionSource(Images(3, 32, 32, 6), seeded("task", 0))
    classes = source.sample("training", 100, seeded("samples", 0))["classes"]
    assert classes.unique().tolist() == list(range(6))


def test_a_caption_names_the_colours_of_the_cells():
    source = CaptionSource(Images(3, 16, 16, 0), 48, 10, 47, seeded("task", 0))
    batch = source.sample("training", 100, seeded("samples", 0))
    centres = batch["pixel_values"][:, :, [4, 4, 12, 12], [4, 12, 4, 12]].movedim(1, -1)
    colours = (centres[..., None, :] - source.palette.colours).abs().amax(dim=-1).argmin(dim=-1)
    named = source.tokens[torch.arange(4), colours]
    assert torch.equal(batch["input_ids"][:, :4], named)
    assert torch.equal(batch["input_ids"][:, 4:8], named)
    assert set(batch["input_ids"][:, -1].tolist()) == {47}
    assert not bool((batch["input_ids"][:, :-1] == 47).any())


@pytest.mark.parametrize("sound", [Spectrogram(64, 20, False), Spectrogram(64, 20, True)])
def test_a_token_is_known_from_its_spectrum(sound):
    source = SpeechSource("input_features", sound, 4, spoken_alphabet(30, {0}), seeded("task", 0))
    batch = source.sample("training", 50, seeded("samples", 0))
    assert batch["input_features"].shape == (50, *sound.shape)
    frames = batch["input_features"] if sound.frames_first else batch["input_features"].transpose(1, 2)
    matches = torch.cosine_similarity(frames[:, 8::16, None], source.codes, dim=-1).argmax(dim=-1)
    assert torch.equal(source.alphabet[matches], batch["labels"])


def test_a_token_is_known_from_its_tone():
    """By the frequency of the largest magnitude, near enough to tell it from every other tone."""
    source = SpeechSource("input_values", Waveform(16_000), 4, spoken_alphabet(13, {0}), seeded("task", 0))
    batch = source.sample("training", 50, seeded("samples", 0))
    slots = batch["input_values"].view(50, 4, 4000)[..., :3000]
    frequencies = torch.fft.rfft(slots, dim=-1).abs().argmax(dim=-1) * 16_000 / 3000
    matches = (frequencies[..., None] - source.codes).abs().argmin(dim=-1)
    assert torch.equal(source.alphabet[matches], batch["labels"])


def test_the_alphabet_is_without_reserved_tokens_and_limited():
    assert spoken_alphabet(5, {0, 3}) == (1, 2, 4)
    assert len(spoken_alphabet(50_000, {0})) == ALPHABET


def test_series_have_variance_one_and_the_best_forecast_its_stated_error():
    """The best forecast continues the recurrence from the last two values, without innovations."""
    source = SeriesSource(16, 8, 3, seeded("task", 0))
    batch = source.sample("validation", 20_000, seeded("samples", 0))
    past, future = batch["past_values"].double(), batch["future_values"].double()
    for values in (past[:, 0], past[:, -1], future[:, -1]):
        assert torch.allclose(values.var(dim=0), torch.ones(3, dtype=torch.float64), atol=0.05)
    history = [past[:, -2], past[:, -1]]
    for _ in range(8):
        history.append(source.first * history[-1] + source.second * history[-2])
    errors = future - torch.stack(history[2:], dim=1)
    assert torch.allclose(errors.square().mean(dim=0), source.forecast_variances(), rtol=0.05)
    assert float(errors.square().mean()) == pytest.approx(source.best_possible_loss, rel=0.02)
    best = source.best_possible["mean_absolute_error"]
    assert float(errors.abs().mean()) == pytest.approx(best, rel=0.02)
    assert 0 < source.best_possible_loss < 0.5
