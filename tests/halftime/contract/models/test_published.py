"""A whole published `config.json` is accepted as `config`; what it says besides the architecture changes nothing."""

import pytest
from pydantic import ValidationError
from transformers import GenerationConfig

from halftime.contract.models import TransformersSpec
from halftime.contract.models.presets import PRESETS
from halftime.contract.models.published import GENERATION

#: What the library and its users write into a file besides the architecture.
FILE = {
    "_attn_implementation_autoset": True,
    "_commit_hash": None,
    "_name_or_path": "/home/someone/bert base",
    "architectures": ["BertForMaskedLM"],
    "dtype": "bfloat16",
    "finetuning_task": "mnli",
    "gradient_checkpointing": False,
    "id2label": {"0": "tench, Tinca tinca", "1": "goldfish", "2": "great white shark"},
    "label2id": {"tench, Tinca tinca": 0, "goldfish": 1, "great white shark": 2},
    "num_beams": 4,
    "output_attentions": False,
    "output_hidden_states": False,
    "pruned_heads": {},
    "quantization_config": None,
    "return_dict": True,
    "task_specific_params": {"summarization": {"prefix": "summarize: ", "num_beams": 4, "early_stopping": True}},
    "torch_dtype": "float16",
    "transformers_version": "4.38.2",
    "trust_remote_code": False,
    "use_cache": True,
    "use_pretrained_backbone": False,
}


@pytest.mark.parametrize("name", PRESETS)
def test_a_published_file_is_accepted(name):
    config = PRESETS[name].config | FILE | {"model_type": PRESETS[name].model_type}
    assert (
        TransformersSpec(model_type=PRESETS[name].model_type, task=PRESETS[name].task, config=config).config == config
    )


def test_settings_of_text_generation_are_the_librarys():
    assert set(GenerationConfig._get_default_generation_params()) - GENERATION == {"use_cache"}


def test_labels_of_a_file_are_the_classes():
    classifier = {"preset": "vit-base", "config": FILE}
    assert TransformersSpec(**classifier).classes == 3
    assert TransformersSpec(**classifier, num_classes=10).classes == 10
    assert TransformersSpec(preset="vit-base", config={"num_labels": 7}).classes == 7
    assert TransformersSpec(preset="vit-base").classes == 1000


def test_labels_of_an_imagenet_file_are_not_too_many_values():
    labels = {str(index): f"class {index}" for index in range(21_841)}
    assert TransformersSpec(preset="vit-base", config={"id2label": labels}).classes == 21_841


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pos_att_type", "p2c|c2p"),
        ("hybrid_override_pattern", "M-M-M*-" * 20),
        ("max_relative_positions", -1),
        ("pad_token_id", -1),
        ("num_local_experts", 0),
        ("use_mamba_kernels", False),
        ("use_mamba_kernels", True),
        ("attn_implementation", "eager"),
        ("_attn_implementation", "sdpa"),
        ("attn_implementation", {"text_config": "eager", "vision_config": "sdpa"}),
        ("experts_implementation", "batched_mm"),
        ("pretrained_window_sizes", [0, 0]),
        ("backbone", None),
    ],
)
def test_a_value_of_a_published_file_is_accepted(name, value):
    assert TransformersSpec(preset="gpt2", config={name: value}).config == {name: value}


def test_an_architecture_that_the_file_contradicts_is_refused_at_its_type():
    with pytest.raises(ValidationError) as caught:
        TransformersSpec(preset="gpt2", config={"model_type": "llama"})
    assert [fault["loc"] for fault in caught.value.errors()] == [("config", "model_type")]


def test_a_files_rotary_settings_replace_the_presets():
    parameters = TransformersSpec(preset="llama-1b", config={"rope_theta": 1e4}).settings["rope_parameters"]
    assert parameters == PRESETS["llama-1b"].config["rope_parameters"] | {"rope_theta": 1e4}
    assert "rope_parameters" not in TransformersSpec(preset="llama-1b", config={"rope_scaling": None}).settings
