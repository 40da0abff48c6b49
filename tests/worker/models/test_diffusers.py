"""U-Nets of `diffusers`: built from plain settings, refused with what is wrong."""

import builtins
import importlib

import pytest
import torch
from pydantic import ValidationError

from halftime.contract.models import DiffusersSpec
from halftime.contract.report.failure import FailureCode
from halftime.contract.request.training import TrainingConfig
from worker.errors import TrialFailed
from worker.messages import TrialSpec
from worker.models import blueprint_of, diffusers
from worker.trial.run import run_trial

BLOCKS = {
    "block_out_channels": [8, 16],
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    "layers_per_block": 1,
    "norm_num_groups": 4,
}


def spec(image_size=8, **config):
    return DiffusersSpec(image_size=image_size, channels=2, num_classes=3, config=BLOCKS | config)


def refusal_of(model):
    with pytest.raises(TrialFailed) as raised:
        blueprint_of(model).build()
    assert raised.value.failure.code is FailureCode.INVALID_MODEL
    return raised.value.failure.detail


def test_the_fields_set_image_channels_and_classes():
    unet = blueprint_of(spec()).build().model
    assert (unet.config.sample_size, unet.config.in_channels, unet.config.out_channels) == (8, 2, 2)
    assert unet.class_embedding.num_embeddings == 3


def test_the_prediction_depends_on_image_timestep_and_class():
    torch.manual_seed(0)
    model = blueprint_of(spec()).build().eval()
    image, zero = torch.randn(1, 2, 8, 8), torch.zeros(1, dtype=torch.int64)
    first = model(image, zero, zero)
    assert first.shape == image.shape
    assert not torch.equal(first, model(image + 1, zero, zero))
    assert not torch.equal(first, model(image, zero + 500, zero))
    assert not torch.equal(first, model(image, zero, zero + 1))


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"block_channels": [8]}, "config.block_channels: UNet2DModel has no such setting. Did you mean block_out"),
        ({"act_fn": "nothing"}, "The diffusers library rejected this model"),
        ({"down_block_types": ["DownBlock2D", "NoBlock"]}, "The diffusers library rejected this model"),
        ({"norm_num_groups": 3}, "The diffusers library rejected this model"),
    ],
)
def test_a_setting_that_the_library_rejects_fails_with_its_reason(config, why):
    assert why in refusal_of(spec(**config))


def test_an_image_that_cannot_be_halved_fails_with_the_library_s_reason():
    settings = TrainingConfig(batch_size=2, steps=2, warmup_steps=1, validation_samples=2)
    trial = TrialSpec(device="cpu", precision="fp32", block=0, position=0, model=spec(image_size=7), training=settings)
    with pytest.raises(TrialFailed, match=r"forward pass of step 1 failed .*Sizes of tensors must match") as raised:
        run_trial(trial, lambda step: None)
    assert raised.value.failure.code is FailureCode.TRAINING_FAILED


@pytest.mark.parametrize("name", ["sample_size", "in_channels", "out_channels", "num_class_embeds"])
def test_what_the_fields_set_is_refused_in_the_config(name):
    with pytest.raises(ValidationError, match="use the field"):
        DiffusersSpec(config={name: 4})


@pytest.mark.parametrize("config", [{"_class_name": "x"}, {"act_fn": "a/b"}, {"block_out_channels": [10**9]}])
def test_settings_are_plain_values_of_a_possible_size(config):
    with pytest.raises(ValidationError):
        DiffusersSpec(config=config)


def test_a_worker_without_the_library_says_what_to_install(monkeypatch):
    def absent(name, *args):
        if name == "diffusers":
            raise ModuleNotFoundError(name)
        return builtins.__import__(name, *args)

    monkeypatch.setattr(importlib, "import_module", absent)
    diffusers._unet_class.cache_clear()
    assert "pip install 'halftime[diffusers]'" in refusal_of(spec())
