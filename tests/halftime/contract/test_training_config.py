"""Training settings are refused at the field that is wrong, and mean what they meant before there were more."""

import pytest
from pydantic import ValidationError

from halftime.contract.request.training import TrainingConfig

REFUSED = [
    ({"optimizer": "lion"}, "optimizer"),
    ({"optimizer": "adafactor", "optimizer_implementation": "fused"}, "optimizer_implementation"),
    ({"optimizer_implementation": "for-loop"}, "optimizer_implementation"),
    ({"momentum": 0.5}, "momentum"),
    ({"optimizer": "sgd", "momentum": 1.0}, "momentum"),
    ({"optimizer": "sgd", "betas": [0.8, 0.9]}, "betas"),
    ({"betas": [0.9, 1.0]}, "betas"),
    ({"betas": [0.9]}, "betas"),
    ({"optimizer": "adafactor", "epsilon": 1e-6}, "epsilon"),
    ({"max_grad_value": 0.5}, "max_grad_value"),
    ({"max_grad_norm": None, "max_grad_value": 0.0}, "max_grad_value"),
    ({"schedule": "step"}, "schedule"),
    ({"steps": 10, "schedule_warmup_steps": 10}, "schedule_warmup_steps"),
    ({"schedule": "constant", "final_learning_rate_ratio": 0.1}, "final_learning_rate_ratio"),
    ({"final_learning_rate_ratio": 1.5}, "final_learning_rate_ratio"),
    ({"label_smoothing": 1.0}, "label_smoothing"),
    ({"activation_checkpointing": 1}, "activation_checkpointing"),
    ({"compile": True}, "compile"),
    ({"compile": {"mode": "fastest"}}, "compile"),
    ({"compile": {"backend": "eager"}}, "compile"),
    ({"gradient_accumulation": 2, "compile": {"mode": "reduce-overhead"}}, "compile"),
    ({"grad_scaler": {"init_scale": 0.0}}, "grad_scaler"),
    ({"grad_scaler": {"backoff_factor": 1.0}}, "grad_scaler"),
    ({"grad_scaler": {"growth_interval": 0}}, "grad_scaler"),
]


@pytest.mark.parametrize(("settings", "field"), REFUSED, ids=str)
def test_a_bad_setting_is_refused_at_its_field(settings, field):
    with pytest.raises(ValidationError) as refusal:
        TrainingConfig.model_validate(settings)
    assert {fault["loc"][0] for fault in refusal.value.errors()} == {field}


def test_the_defaults_are_those_that_there_always_were():
    settings = TrainingConfig()
    assert (settings.optimizer, settings.implementation) == ("adamw", "fused")
    assert (settings.momentum, settings.betas, settings.epsilon) == (0.9, [0.9, 0.999], 1e-8)
    assert (settings.max_grad_norm, settings.max_grad_value) == (1.0, None)
    assert (settings.schedule_warmup_steps, settings.final_learning_rate_ratio, settings.label_smoothing) == (0, 0, 0)
    assert settings.compile is None
    assert not settings.activation_checkpointing
    assert not settings.deterministic


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "sgd", "momentum": 0.5},
        {"optimizer": "adam", "betas": [0, 0.99], "optimizer_implementation": "foreach"},
        {"optimizer": "adafactor"},
        {"max_grad_norm": None, "max_grad_value": 0.5},
        {"max_grad_norm": None},
        {"gradient_accumulation": 2, "compile": {"mode": "max-autotune-no-cudagraphs"}},
    ],
    ids=str,
)
def test_settings_survive_being_stored_and_resolved(settings):
    config = TrainingConfig.model_validate(settings)
    assert TrainingConfig.model_validate_json(config.model_dump_json()) == config
    resolved = config.resolved()
    assert resolved.optimizer_implementation in {"fused", "foreach"}
    assert TrainingConfig.model_validate_json(resolved.model_dump_json()) == resolved
