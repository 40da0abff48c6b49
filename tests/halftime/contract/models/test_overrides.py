"""A key that names code, a file or an address is refused at its place, at any depth of a config."""

import pytest
from pydantic import ValidationError

from halftime.contract.models import DiffusersSpec, TransformersSpec
from halftime.contract.request.request import BenchmarkRequest, stored_request

#: Keys and what files write there.
NAMING = {
    "auto_map": {"AutoModel": "modeling.Model"},
    "AUTO_MAP": {"AutoModel": "modeling.Model"},
    "base_model_name_or_path": "bert",
    "cache_dir": "cache",
    "checkpoint": "latest",
    "checkpoint_path": "weights.pth",
    "code": "model.py",
    "custom_code": "model.py",
    "custom_pipelines": {"mine": {"impl": "pipeline.Mine"}},
    "download_url": "example.org",
    "endpoint": "example.org",
    "feature_extractor_path": ["a", "b"],
    "image_processor": "vit",
    "index_path": "index",
    "init_script": "run",
    "merges_file": "merges.txt",
    "model_id": "gpt2",
    "pretrained": True,
    "pretrained_cfg": {"hf_hub_id": "timm"},
    "pretrained_weights": "imagenet",
    "server_address": "example.org",
    "tokenizer": "bert",
    "tokenizer_file": "tokenizer.json",
    "trust_remote_code": True,
    "uri": "example.org",
    "vocab_files": ["vocab.txt"],
}

#: Where a key may be: the config with a setting inside, and the path to it.
PLACES = {
    "top": (lambda inner: inner, ()),
    "object": (lambda inner: {"model_args": inner}, ("model_args",)),
    "object in an object": (lambda inner: {"vision_config": {"model_args": inner}}, ("vision_config", "model_args")),
    "list": (lambda inner: {"parts": [inner]}, ("parts", 0)),
    "list in a list": (lambda inner: {"parts": [[{}, inner]]}, ("parts", 0, 1)),
}

SPECS = {
    "transformers": lambda config: TransformersSpec(preset="gpt2", config=config),
    "diffusers": lambda config: DiffusersSpec(config=config),
}


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("key", NAMING)
def test_a_key_that_names_code_is_refused_at_its_place(key, place, spec):
    nest, path = PLACES[place]
    with pytest.raises(ValidationError) as caught:
        SPECS[spec](nest({key: NAMING[key]}))
    (fault,) = caught.value.errors()
    assert fault["loc"] == ("config", *path, key)
    assert "may name code, files or addresses" in fault["msg"]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("key", NAMING)
def test_it_is_accepted_where_it_names_nothing(key, place):
    nest, _ = PLACES[place]
    config = nest({key: None})
    assert TransformersSpec(preset="gpt2", config=config).config == config


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("drop_path_rate", 0.1),
        ("use_mem_eff_path", False),
        ("disable_custom_kernels", True),
        ("feed_forward_residual_weights", [1.5, 0.5]),
        ("codebook_size", 32),
        ("pretrained_window_sizes", [0, 0]),
        ("image_processor", False),
        ("scale_attn_weights", True),
        ("encoder_layers", 2),
    ],
)
def test_a_setting_of_an_architecture_is_not_taken_for_one(name, value):
    config = {"text_config": {name: value}}
    assert TransformersSpec(preset="gpt2", config=config).config == config


def test_a_config_that_an_earlier_release_accepted_still_opens():
    stored = BenchmarkRequest.model_validate({"model": {"kind": "transformers", "preset": "gpt2"}}).model_dump()
    stored["model"]["config"] = {"custom_code": "model.py"}
    assert stored_request(stored).model.config == {"custom_code": "model.py"}
