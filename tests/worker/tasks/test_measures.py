"""Metrics against a direct computation."""

import pytest
import torch

from worker.data.source import seeded
from worker.tasks.contrastive import retrieval
from worker.tasks.ctc import edit_distance, greedy
from worker.tasks.detection import class_scores, ious
from worker.tasks.segmentation import mean_ious


@pytest.mark.parametrize(
    ("found", "expected", "distance"),
    [([], [], 0), ([], [1, 2], 2), ([1, 2], [], 2), ([1, 2, 3], [1, 3], 1), ([1, 2], [2, 1], 2), ([5], [6, 5, 7], 2)],
)
def test_an_edit_distance_is_the_fewest_changes(found, expected, distance):
    assert edit_distance(found, expected) == distance


def test_edit_distances_are_those_of_the_recursive_definition():
    def by_definition(one, other):
        if not one or not other:
            return len(one) + len(other)
        return min(
            by_definition(one[1:], other) + 1,
            by_definition(one, other[1:]) + 1,
            by_definition(one[1:], other[1:]) + (one[0] != other[0]),
        )

    for seed in range(30):
        lengths = torch.randint(6, (2,), generator=seeded("lengths", seed)).tolist()
        one, other = (torch.randint(3, (length,), generator=seeded("tokens", seed)).tolist() for length in lengths)
        assert edit_distance(one, other) == by_definition(one, other)


def test_greedy_decoding_drops_repetitions_and_blanks():
    best = torch.tensor([[0, 1, 1, 0, 1, 2, 2, 0], [2, 2, 2, 2, 2, 2, 2, 2], [0, 0, 0, 0, 0, 0, 0, 0]])
    logits = torch.nn.functional.one_hot(best, 3).float()
    assert greedy(logits, blank=0) == [[1, 1, 2], [2], []]


def test_mean_iou_is_that_of_the_classes_in_image_or_prediction():
    predicted = torch.randint(4, (5, 6, 7), generator=seeded("predicted", 0))
    labels = torch.randint(3, (5, 6, 7), generator=seeded("labels", 0))
    expected = []
    for one, other in zip(predicted, labels, strict=True):
        shares = [
            float(((one == label) & (other == label)).sum()) / float(((one == label) | (other == label)).sum())
            for label in range(9)
            if bool(((one == label) | (other == label)).any())
        ]
        expected.append(sum(shares) / len(shares))
    assert mean_ious(predicted, labels, 9).tolist() == pytest.approx(expected)
    assert mean_ious(labels, labels, 9).tolist() == [1.0] * 5


def test_ious_are_those_of_counted_cells():
    """Boxes on a grid of tenths."""
    boxes = torch.tensor([[[0.2, 0.2, 0.4, 0.4], [0.5, 0.5, 0.2, 0.6]]])
    others = torch.tensor([[[0.3, 0.3, 0.4, 0.4], [0.8, 0.8, 0.2, 0.2], [0.2, 0.2, 0.4, 0.4]]])

    def cells(box):
        x, y, width, height = (round(10 * float(value)) for value in box)
        columns = range(x - width // 2, x + width // 2)
        return {(column, row) for column in columns for row in range(y - height // 2, y + height // 2)}

    for row, one in enumerate(boxes[0]):
        for column, other in enumerate(others[0]):
            first, second = cells(one), cells(other)
            expected = len(first & second) / len(first | second)
            assert float(ious(boxes, others)[0, row, column]) == pytest.approx(expected, abs=1e-6)


def test_no_object_is_not_a_class():
    logits = torch.tensor([[[1.0, 0.0, 5.0]]])
    assert class_scores(logits, 2).shape == (1, 1, 2)
    assert float(class_scores(logits, 2).sum()) < 0.1
    assert class_scores(logits, 3).tolist() == logits.sigmoid().tolist()


def test_retrieval_counts_equal_candidates_as_right_and_not_as_pairs():
    similarity = torch.tensor([[1.0, 2.0, 0.0], [3.0, 2.0, 2.5], [0.0, 5.0, 1.0]])
    equal = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]], dtype=torch.bool)
    found, closer = retrieval(similarity, equal)
    assert int(found) == 2  # the third query's best candidate belongs to the second
    assert int(closer) == 2  # of four pairs of unequal ones: 1 > 0; 2 < 2.5; 1 > 0; 1 < 5
