"""What of a published config reaches the library, and what is refused at its field."""

import pytest

from halftime.contract.models import TransformersSpec
from halftime.contract.report.failure import FailureCode
from worker.errors import TrialFailed
from worker.models.transformers.config import make_config
from worker.models.transformers.library import library
from worker.models.transformers.settings import select_settings

BERT = {"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
MARK = {"transformers_version": "4.38.2"}


def config_of(model_type, task="causal-lm", **config):
    return make_config(TransformersSpec(model_type=model_type, task=task, config=BERT | config))


def refusal_of(model_type, task="causal-lm", **config):
    with pytest.raises(TrialFailed) as caught:
        config_of(model_type, task, **config)
    assert caught.value.failure.code is FailureCode.INVALID_MODEL
    return caught.value.failure.detail


def test_a_rotary_base_finds_its_place():
    assert config_of("llama", rope_theta=500_000.0).rope_parameters["rope_theta"] == 500_000.0
    assert config_of("llama", head_dim=4).head_dim == 4


def test_a_preset_takes_a_rotary_base_too():
    config = make_config(TransformersSpec(preset="llama-1b", config={"rope_theta": 1e4}))
    assert config.rope_parameters["rope_theta"] == 1e4
    assert config.rope_parameters["rope_type"] == "llama3"


@pytest.mark.parametrize("name", ["position_buckets", "norm_rel_ebd", "share_att_key"])
def test_a_setting_that_only_the_source_reads_is_passed_on(name):
    value = {"position_buckets": 8, "norm_rel_ebd": "layer_norm", "share_att_key": True}[name]
    assert getattr(config_of("deberta-v2", "masked-lm", **{name: value}), name) == value


def test_facts_of_a_published_file_do_not_reach_the_library():
    facts = {
        "_name_or_path": "a/b",
        "torch_dtype": "float16",
        "use_cache": True,
        "id2label": {"0": "a"},
        "num_beams": 4,
    }
    config = config_of("bert", "masked-lm", architectures=["BertForMaskedLM"], **MARK, **facts)
    assert (config.dtype, config.use_cache, config.architectures) == (None, False, [])
    assert not hasattr(config, "num_beams")


def test_facts_in_a_plain_object_do_not_reach_the_library_either():
    arguments = {"width": 2, "_name_or_path": "a/b", "blocks": [{"_name_or_path": "a/b"}]}
    file = MARK | {"_name_or_path": "a/b", "model_args": arguments, "architecture": "resnet50"}
    selected = select_settings(file, library().CONFIG_MAPPING["timm_wrapper"], published=True)
    assert selected["model_args"] == {"width": 2, "blocks": [{}]}


def test_a_setting_that_the_library_no_longer_reads_is_accepted_at_its_only_value():
    assert config_of("bert", "masked-lm", position_embedding_type="absolute")
    detail = refusal_of("bert", "masked-lm", position_embedding_type="relative_key")
    assert detail.startswith("model.config.position_embedding_type: ")
    assert "absolute" in detail


def test_an_unknown_name_is_accepted_in_a_published_file_alone():
    assert config_of("bert", "masked-lm", directionality="bidi", **MARK)
    assert "model.config.directionality" in refusal_of("bert", "masked-lm", directionality="bidi")


def test_a_misspelt_name_is_refused_in_a_published_file_too():
    assert "Did you mean num_hidden_layers" in refusal_of("bert", "masked-lm", num_hiden_layers=2, **MARK)


@pytest.mark.parametrize("name", ["get_text_config", "to_dict"])
def test_a_method_of_the_config_is_no_setting(name):
    assert f"model.config.{name}: " in refusal_of("llama", **{name: 3})


def test_an_implementation_is_passed_on_under_either_name():
    assert config_of("llama", attn_implementation="eager")._attn_implementation == "eager"
    assert config_of("llama", _attn_implementation="eager")._attn_implementation == "eager"
    assert config_of("mixtral", experts_implementation="batched_mm")._experts_implementation == "batched_mm"


def test_nested_settings_are_checked_against_the_part_that_their_type_names():
    parts = {"encoder": BERT | {"model_type": "bert"}, "decoder": BERT | {"model_type": "bert"}}
    spec = {"model_type": "encoder-decoder", "task": "seq2seq"}
    assert make_config(TransformersSpec(**spec, config=parts)).encoder.hidden_size == 16
    parts["encoder"]["hiden_size"] = 16
    with pytest.raises(TrialFailed, match=r"model.config.encoder.hiden_size"):
        make_config(TransformersSpec(**spec, config=parts))


@pytest.mark.parametrize("name", ["hidden_size", "vocab_size", "num_hidden_layers"])
def test_a_setting_that_only_a_part_has_is_refused_where_it_would_change_nothing(name):
    spec = {"model_type": "gemma3", "task": "causal-lm"}
    with pytest.raises(TrialFailed, match=rf"model.config.{name}: is a setting of text_config( and \w+)?; give it"):
        make_config(TransformersSpec(**spec, config={name: 48}))
    part = make_config(TransformersSpec(**spec, config={"text_config": {name: 48}})).text_config
    assert getattr(part, name) == 48


def test_a_setting_that_reaches_a_part_from_the_whole_is_accepted():
    spec = TransformersSpec(model_type="fuyu", task="causal-lm", config={"vocab_size": 64})
    assert make_config(spec).text_config.vocab_size == 64


def test_a_setting_of_a_part_is_left_out_of_a_published_file():
    spec = TransformersSpec(model_type="gemma3", task="causal-lm", config=MARK | {"hidden_size": 48})
    assert make_config(spec).text_config.hidden_size == 2304


def test_a_token_of_a_larger_vocabulary_is_moved_into_it():
    assert config_of("llama", eos_token_id=128_001, pad_token_id=-1).eos_token_id == 63


@pytest.mark.parametrize("image_token", [63, 200])
def test_no_token_stands_for_an_image(image_token):
    spec = TransformersSpec(model_type="gemma4", task="causal-lm", config={"image_token_id": image_token})
    assert make_config(spec).image_token_id == -1


def test_a_head_width_left_open_is_derived():
    assert config_of("ministral").head_dim == 8


def test_a_missing_default_is_named():
    sizes = {"vocab_size": 64, "d_model": 16, "n_heads": 2, "n_layers": 1}
    assert "rope_theta" in refusal_of_built("dbrx", sizes | {"attn_config": {"clip_qkv": 8.0}})


def refusal_of_built(model_type, config):
    from worker.models import blueprint_of

    with pytest.raises(TrialFailed) as caught:
        blueprint_of(TransformersSpec(model_type=model_type, task="causal-lm", config=config, sequence_length=8))
    return caught.value.failure.detail
