"""What a model reaches that ignores its inputs, from the held-out targets of any data."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from halftime.contract.request.data import SyntheticData
from halftime.contract.request.training import TrainingConfig
from halftime.plugin import IGNORED, Vectors
from tests.factories import data_of, request
from worker.data import make_data
from worker.data.chance import chance_of
from worker.tasks import as_task


def test_balanced_classes_leave_a_uniform_guess():
    found = chance_of([torch.arange(4).repeat(1000)], num_classes=4)
    assert found.accuracy == 0.25
    assert found.loss == pytest.approx(math.log(4), rel=1e-3)


def test_a_frequent_class_raises_what_ignoring_the_inputs_reaches():
    found = chance_of([torch.tensor([0] * 900 + [1] * 100)], num_classes=4)
    assert found.accuracy == 0.9
    assert found.loss == pytest.approx(-0.9 * math.log(0.9) - 0.1 * math.log(0.1), rel=0.02)


def test_positions_that_are_not_predicted_do_not_count():
    targets = [torch.tensor([[1, IGNORED], [IGNORED, 1]]), torch.tensor([[0, IGNORED]])]
    found = chance_of(targets, num_classes=4)
    assert found.accuracy == 2 / 3


def test_few_targets_of_a_large_vocabulary_do_not_look_predictable():
    """The entropy of their own frequencies would be at most ln 256."""
    targets = torch.randint(4096, (256,), generator=torch.Generator().manual_seed(0))
    assert math.log(256) < chance_of([targets], num_classes=4096).loss == pytest.approx(math.log(4096), rel=0.01)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=50))
def test_chance_is_between_certainty_and_a_uniform_guess(targets):
    found = chance_of([torch.tensor(targets)], num_classes=10)
    assert 0 <= found.loss <= math.log(10)
    assert 1 / 10 <= found.accuracy <= 1


def test_it_is_a_fact_of_every_trial_s_data():
    asked = request()
    facts = data_of(asked.model, asked.config.training).facts
    loss, accuracy = facts.metrics
    assert (loss.name, accuracy.name) == ("loss", "accuracy")
    assert accuracy.chance < accuracy.best_possible
    assert loss.best_possible < loss.chance <= math.log(4)


def test_a_trial_s_chance_is_of_its_held_out_data():
    task = as_task(Vectors(4, 3))
    data = make_data(task, SyntheticData(), TrainingConfig(batch_size=8, steps=2, warmup_steps=1), 0)
    found = chance_of((targets for _, targets in data.validation), 3)
    assert {one.name: one.chance for one in data.facts.metrics} == {"loss": found.loss, "accuracy": found.accuracy}
    assert found.accuracy > 1 / 3
