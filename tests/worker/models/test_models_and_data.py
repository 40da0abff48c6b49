"""Models have the size their specs count, and learn tasks whose optimum is known."""

import pytest
import torch

from halftime.contract.models import ConvnetSpec, MlpSpec, TransformerSpec
from halftime.contract.request.data import SyntheticData
from halftime.contract.request.training import TrainingConfig
from tests.factories import data_of
from worker.data import make_source, seeded
from worker.data.synthetic.language import LanguageSource
from worker.messages import TrialSpec
from worker.models import blueprint_of
from worker.trial.run import run_trial

SPECS = [
    MlpSpec(),
    MlpSpec(input_size=3, hidden_size=5, num_layers=1, num_classes=2),
    ConvnetSpec(),
    ConvnetSpec(image_size=7, in_channels=1, widths=[4, 4, 6], blocks_per_stage=3, channels_last=True),
    ConvnetSpec(widths=[8], blocks_per_stage=1),
    TransformerSpec(),
    TransformerSpec(vocab_size=11, hidden_size=12, num_layers=1, num_heads=3, feed_forward_size=7, sequence_length=5),
]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.kind)
def test_the_parameter_count_is_that_of_the_module(spec):
    with torch.device("meta"):
        module = blueprint_of(spec).build()
    assert spec.parameter_count() == sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.kind)
def test_logits_fit_the_targets(spec):
    data = data_of(spec, TrainingConfig(batch_size=2, steps=2, warmup_steps=1, validation_samples=3))
    inputs, targets = data.training[0]
    logits = blueprint_of(spec).build()(inputs)
    assert logits.shape[:-1] == targets.shape
    assert int(targets.max()) < logits.shape[-1]
    assert sum(len(targets) for _, targets in data.validation) == 3


def test_the_same_seed_gives_the_same_data_and_another_gives_other_data():
    training = TrainingConfig(batch_size=2, steps=3, warmup_steps=1)
    first, again, other = (data_of(MlpSpec(), training, seed).sha256() for seed in (1, 1, 2))
    assert first == again != other


def test_the_task_stays_while_the_samples_change_with_the_block():
    one, other = (make_source(blueprint_of(MlpSpec()).task, SyntheticData(), seed=5) for _ in range(2))
    assert one.best_possible_loss == other.best_possible_loss


def test_training_data_on_the_device_is_bounded():
    spec = ConvnetSpec(image_size=512)
    training = TrainingConfig(batch_size=16, steps=1000, validation_samples=1)
    data = data_of(spec, training)
    assert data.facts.distinct_batches < 1000
    assert sum(tensor.nbytes for batch in data.training for tensor in batch) <= 256 * 2**20


def test_the_entropy_rate_is_what_the_true_chain_scores_on_its_own_samples():
    task = LanguageSource(64, 64, seeded("task", 0))
    inputs, targets = task.sample("validation", 2000, seeded("samples", 0))
    matrix = torch.zeros(64, 64, dtype=torch.float64).scatter_(
        1, task.chain.successors(torch.arange(64)), task.chain.probabilities
    )
    scored = -matrix[inputs, targets].log().mean()
    guessed = (matrix.argmax(dim=1)[inputs] == targets).double().mean()
    assert float(scored) == pytest.approx(task.best_possible_loss, abs=0.02)
    assert float(guessed) == pytest.approx(task.best_possible_accuracy, abs=0.01)
    assert 1.4 < task.best_possible_loss < 2.0


def test_a_large_vocabulary_needs_no_dense_matrix():
    task = LanguageSource(50_257, 8, seeded("task", 0))
    assert task.chain.probabilities.shape == (50_257, 64)
    assert 0 < task.best_possible_loss < 3


LEARNABLE = [
    (MlpSpec(), {"batch_size": 64, "steps": 60, "learning_rate": 0.001}),
    (
        ConvnetSpec(image_size=16, widths=[16, 32], blocks_per_stage=1),
        {"batch_size": 32, "steps": 60, "learning_rate": 0.003},
    ),
    (
        TransformerSpec(vocab_size=32, hidden_size=64, num_layers=1, sequence_length=32),
        {"batch_size": 16, "steps": 100, "learning_rate": 0.01},
    ),
]


@pytest.mark.parametrize(("spec", "settings"), LEARNABLE, ids=lambda value: getattr(value, "kind", ""))
def test_training_falls_towards_the_floor_and_not_below(spec, settings):
    result = run_trial(
        TrialSpec(device="cpu", precision="fp32", block=0, position=0, model=spec, training=TrainingConfig(**settings)),
        lambda step: None,
    )
    gap_before = result.loss_curve[0] - result.data.best_possible_loss
    gap_after = result.validation_loss - result.data.best_possible_loss
    assert 0 < gap_after < 0.6 * gap_before
    assert result.validation_accuracy <= result.data.best_possible_accuracy + 0.03
    assert result.parameter_count == spec.parameter_count()
