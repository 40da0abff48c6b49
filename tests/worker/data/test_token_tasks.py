"""Tasks of tokens: their optimum is what the true posterior scores on their own samples, computed another way."""

import pytest
import torch

from halftime.contract.models import TransformersSpec
from halftime.contract.request.training import TrainingConfig
from halftime.plugin import IGNORED, ClassifiedTokens, MaskedTokens, TokenPairs
from worker.data import seeded
from worker.data.synthetic import synthetic_source
from worker.data.synthetic.classified import LABEL_NOISE, ClassifiedSource
from worker.data.synthetic.language import START_TOKEN, ContinuationSource
from worker.data.synthetic.markov import MarkovChain
from worker.data.synthetic.masked import MaskedSource
from worker.messages import TrialSpec
from worker.trial.run import run_trial

TINY_BERT = {"vocab_size": 12, "hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
TINY_BERT |= {"intermediate_size": 64, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def matrix_of(chain):
    """Dense, (from, to)."""
    tokens = torch.arange(chain.vocab_size)
    empty = torch.zeros(chain.vocab_size, chain.vocab_size, dtype=torch.float64)
    return empty.scatter_(1, chain.successors(tokens), chain.probabilities)


@pytest.mark.parametrize("vocab_size", [2, 5, 64, 100])
def test_a_chain_is_its_matrix(vocab_size):
    chain = MarkovChain(vocab_size, seeded("task", 0))
    matrix = matrix_of(chain)
    tokens = torch.arange(vocab_size)
    assert torch.equal(chain.transition(tokens[:, None], tokens[None, :]), matrix)
    weights = chain.stationary()
    assert torch.allclose(weights @ matrix, weights, atol=1e-8)
    assert float(weights.sum()) == pytest.approx(1)


def test_a_walk_takes_each_step_as_often_as_the_matrix_says():
    chain = MarkovChain(5, seeded("task", 0))
    walks = chain.walk(torch.randint(5, (20_000,), generator=seeded("first", 0)), 4, seeded("walk", 0))
    counts = torch.zeros(5, 5).index_put_((walks[:, :-1].flatten(), walks[:, 1:].flatten()), torch.tensor(1.0), True)
    assert torch.allclose(counts / counts.sum(dim=1, keepdim=True), matrix_of(chain).float(), atol=0.03)


def test_the_best_guess_of_a_hidden_token_scores_the_optimum():
    """With the hidden token's neighbours, from products of the dense matrix."""
    task = MaskedSource(MaskedTokens(41, 15, mask_token=40), seeded("task", 0))
    inputs, targets = task.sample("validation", 4000, seeded("samples", 0))
    matrix = matrix_of(task.language.chain)
    row, column = (targets != IGNORED).nonzero(as_tuple=True)
    both = matrix[inputs[row, column - 1]] * matrix[:, inputs[row, column + 1]].T
    posterior = both / both.sum(dim=1, keepdim=True)
    hidden = targets[row, column]
    scored = -posterior.gather(1, hidden[:, None]).log().mean()
    guessed = (posterior.argmax(dim=1) == hidden).double().mean()
    assert float(scored) == pytest.approx(task.best_possible_loss, abs=0.03)
    assert float(guessed) == pytest.approx(task.best_possible_accuracy, abs=0.015)
    assert 0.3 < task.best_possible_loss < 1.5


@pytest.mark.parametrize("length", [3, 4, 7, 64])
@pytest.mark.parametrize("mask_token", [0, 4, 8])
def test_hidden_tokens_stand_alone_between_two_that_are_seen(length, mask_token):
    task = MaskedSource(MaskedTokens(9, length, mask_token), seeded("task", 0))
    inputs, targets = task.sample("training", 50, seeded("samples", 0))
    hidden = targets != IGNORED
    assert torch.equal(inputs == mask_token, hidden)
    assert bool((hidden.sum(dim=1) == task.masked).all())
    assert task.masked >= 1
    assert not bool(hidden[:, [0, -1]].any())
    assert not bool((hidden[:, 1:] & hidden[:, :-1]).any())
    assert not bool((targets == mask_token).any())


def test_the_best_guess_of_a_class_scores_the_optimum():
    """With the likelihood multiplied up from each class's own dense matrix."""
    classes, length = 3, 4
    task = ClassifiedSource(ClassifiedTokens(20, length, classes), seeded("task", 0))
    tokens, labels = task.sample("validation", 20_000, seeded("samples", 0))
    likelihood = torch.ones(len(tokens), classes, dtype=torch.float64)
    for index, shift in enumerate(task.shifts.tolist()):
        rows = [task.chain.probabilities[(token + shift) % 20] for token in range(20)]
        matrix = torch.zeros(20, 20, dtype=torch.float64)
        matrix.scatter_(1, task.chain.successors(torch.arange(20)), torch.stack(rows))
        for position in range(length - 1):
            likelihood[:, index] *= matrix[tokens[:, position], tokens[:, position + 1]]
    posterior = likelihood / likelihood.sum(dim=1, keepdim=True) * (1 - LABEL_NOISE) + LABEL_NOISE / classes
    scored = -posterior.gather(1, labels[:, None]).log().mean()
    guessed = (posterior.argmax(dim=1) == labels).double().mean()
    assert float(scored) == pytest.approx(task.best_possible_loss, abs=0.02)
    assert float(guessed) == pytest.approx(task.best_possible_accuracy, abs=0.01)


def test_more_classes_than_tokens_cannot_all_be_told_apart():
    task = ClassifiedSource(ClassifiedTokens(5, 64, 10), seeded("task", 0))
    assert task.best_possible_accuracy == pytest.approx((1 - LABEL_NOISE) / 2 + LABEL_NOISE / 10, abs=0.01)


def test_the_best_guess_of_what_follows_scores_the_optimum():
    """The first target given the source's last token, each other given the one before it."""
    task = ContinuationSource(TokenPairs(30, 5, 7), seeded("task", 0))
    inputs, targets = task.sample("validation", 4000, seeded("samples", 0))
    assert inputs.shape == (4000, 12)
    assert bool((inputs[:, 5] == START_TOKEN).all())
    assert torch.equal(inputs[:, 6:], targets[:, :-1])
    matrix = matrix_of(task.whole.chain)
    before = torch.cat([inputs[:, 4:5], targets[:, :-1]], dim=1)
    scored = -matrix[before, targets].log().mean()
    guessed = (matrix.argmax(dim=1)[before] == targets).double().mean()
    assert float(scored) == pytest.approx(task.best_possible_loss, abs=0.03)
    assert float(guessed) == pytest.approx(task.best_possible_accuracy, abs=0.01)


SHAPES = [MaskedTokens(50_257, 16, 50_256), ClassifiedTokens(50_257, 16, 1000), TokenPairs(50_257, 8, 8)]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: type(shape).__name__)
def test_a_large_vocabulary_has_its_task(shape):
    inputs, _ = synthetic_source(shape, seeded("task", 0)).sample("training", 8, seeded("samples", 0))
    assert inputs.shape == (8, 16)
    assert 0 <= int(inputs.min()) <= int(inputs.max()) < 50_257


LEARNABLE = [
    TransformersSpec(preset="bert-base", config=TINY_BERT, sequence_length=16),
    TransformersSpec(preset="bert-base", task="sequence-classification", config=TINY_BERT, sequence_length=32),
]


@pytest.mark.parametrize("spec", LEARNABLE, ids=lambda spec: spec.trained_task)
def test_training_falls_towards_the_floor_and_not_below(spec):
    training = TrainingConfig(batch_size=64, steps=120, learning_rate=0.005, validation_samples=1024)
    trial = TrialSpec(device="cpu", precision="fp32", block=0, position=0, model=spec, training=training)
    result = run_trial(trial, lambda step: None)
    gap_before = result.loss_curve[0] - result.data.best_possible_loss
    gap_after = result.validation_loss - result.data.best_possible_loss
    assert -0.05 < gap_after < 0.8 * gap_before  # one label in ten is random, and 1,024 samples are a sample
    assert result.validation_accuracy <= result.data.best_possible_accuracy + 0.03
