"""Synthetic data of tasks beside classification: a model that knows how it was made scores what is called best."""

import math

import pytest
import torch
from torch.nn import functional

from halftime.contract.models import DlrmSpec
from worker.data import seeded
from worker.data.synthetic.clicks import ClickSource
from worker.data.synthetic.noised_images import LEVELS, SPREAD, TIMESTEPS, NoisedImageSource
from worker.data.synthetic.numbers import NOISE_VARIANCE, NumberSource, covariance_of_units


def drawn(source, count):
    return source.sample("validation", count, seeded("samples", 0))


def test_the_teacher_of_a_regression_is_left_with_the_noise():
    source = NumberSource((3, 4), 5, seeded("task", 0))
    inputs, targets = drawn(source, 40_000)
    errors = source.teach(inputs) - targets
    assert inputs.shape == (40_000, 3, 4)
    assert float(errors.square().mean()) == pytest.approx(source.best_possible_loss, rel=0.02)
    assert float(errors.abs().mean()) == pytest.approx(source.best_possible["mean_absolute_error"], rel=0.02)


@pytest.mark.parametrize(("inputs", "targets"), [(1, 1), (2, 3), (300, 7)])
def test_targets_of_a_regression_have_the_variance_of_chance(inputs, targets):
    source = NumberSource((inputs,), targets, seeded("task", 1))
    _, values = drawn(source, 40_000)
    assert torch.allclose(values.square().mean(dim=0), torch.tensor(1 + NOISE_VARIANCE), rtol=0.05)
    assert source.chance == {"loss": 1 + NOISE_VARIANCE}


def test_the_covariance_of_error_functions_is_exact():
    weights = torch.randn(3, 4, generator=seeded("weights", 0))
    units = torch.erf(torch.randn(400_000, 3, generator=seeded("inputs", 0)) @ weights)
    assert torch.allclose(units.T @ units / len(units), covariance_of_units(weights), atol=0.01)


def best_noise(source, batch):
    """The mean of the noise given image, timestep and class, from Gaussian densities on a grid of noise."""
    grid = torch.linspace(-6, 6, 801)
    template = source.templates[batch["classes"]]
    noised = batch["signal_rate"] * batch["images"] + batch["noise_rate"] * batch["noise"]
    rest = (noised - batch["signal_rate"] * template)[..., None] - batch["noise_rate"][..., None] * grid
    spread = (batch["signal_rate"] * SPREAD)[..., None]
    weights = (-(grid**2) / 2 - (rest / spread).square() / 2).softmax(dim=-1)
    return weights @ grid


def test_the_best_denoiser_scores_the_best_possible_loss_at_every_level():
    source = NoisedImageSource(1, 4, 3, seeded("task", 0))
    batch = drawn(source, 6000)
    visible = batch["timesteps"] < 950  # later, the density is narrower than the grid
    batch = {name: values[visible] for name, values in batch.items()}
    errors = (best_noise(source, batch) - batch["noise"]).square().mean(dim=(1, 2, 3))
    levels = batch["timesteps"] * len(LEVELS) // TIMESTEPS
    for place, level in enumerate(LEVELS):
        best = source.best_possible[f"loss_at_{level}_noise"]
        assert float(errors[levels == place].mean()) == pytest.approx(best, rel=0.05, abs=2e-3)
    assert sum(source.best_possible.values()) / 3 == pytest.approx(source.best_possible_loss, abs=1e-3)


def test_noised_images_at_the_last_timestep_are_noise_and_at_the_first_are_images():
    source = NoisedImageSource(1, 4, 3, seeded("task", 0))
    assert float(source.signal_shares[0]) == pytest.approx(1 - 1e-4)
    assert float(source.signal_shares[-1]) == pytest.approx(4.0e-5, rel=0.02)


@pytest.mark.parametrize("count", [1, 7, 1000])
def test_timesteps_cover_the_diffusion_evenly(count):
    timesteps = drawn(NoisedImageSource(1, 4, 3, seeded("task", 0)), count)["timesteps"]
    places = timesteps.double().sort().values
    assert 0 <= int(places[0]) <= int(places[-1]) < TIMESTEPS
    assert torch.all((places.diff() - TIMESTEPS / count).abs() <= 1)


def test_more_classes_than_templates_share_them():
    source = NoisedImageSource(1, 4, 1000, seeded("task", 0))
    batch = drawn(source, 200)
    assert int(batch["classes"].max()) >= 64
    assert len(source.templates) == 64


CLICKS = DlrmSpec(num_tables=5, rows_per_table=30, bag_size=3, embedding_dim=4, dense_features=6)


def test_the_teacher_of_clicks_scores_the_best_possible_loss_and_accuracy():
    source = ClickSource(CLICKS, seeded("task", 0))
    batch = drawn(source, 40_000)
    chances = source.probabilities(batch["dense"], batch["categories"])
    scored = functional.binary_cross_entropy(chances, batch["clicked"])
    guessed = ((chances > 0.5) == (batch["clicked"] > 0)).double().mean()
    assert float(scored) == pytest.approx(source.best_possible_loss, abs=0.01)
    assert float(guessed) == pytest.approx(source.best_possible_accuracy, abs=0.01)


def test_chance_is_to_predict_the_share_of_clicks():
    source = ClickSource(CLICKS, seeded("task", 0))
    share = float(drawn(source, 40_000)["clicked"].mean())
    constant = -share * math.log(share) - (1 - share) * math.log(1 - share)
    assert source.chance["loss"] == pytest.approx(constant, abs=0.01)
    assert source.chance["accuracy"] == pytest.approx(max(share, 1 - share), abs=0.01)
    assert source.chance["accuracy"] < source.best_possible_accuracy


def test_tables_of_any_size_have_clicks():
    huge = CLICKS.model_copy(update={"rows_per_table": 100_000_000})
    batch = drawn(ClickSource(huge, seeded("task", 0)), 4000)
    assert int(batch["categories"].max()) > 10_000_000
    assert 0 < float(batch["clicked"].mean()) < 1


def test_some_categories_are_far_more_popular_than_others():
    categories = drawn(ClickSource(CLICKS, seeded("task", 0)), 4000)["categories"]
    assert categories.shape == (4000, 5, 3)
    counts = categories.flatten().bincount(minlength=30).double() / categories.numel()
    expected = torch.tensor([math.log((k + 2) / (k + 1)) / math.log(31) for k in range(30)], dtype=torch.float64)
    assert torch.allclose(counts, expected, atol=0.01)
