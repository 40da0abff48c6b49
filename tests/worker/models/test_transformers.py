"""Architectures of the library: published sizes, training in every precision, and what the library would accept."""

import importlib
import socket
import subprocess
import sys

import pytest
import torch

from halftime.contract.models import TransformersSpec
from halftime.contract.models.model_types import MODEL_TYPES, NOT_TRAINED
from halftime.contract.models.presets import PRESETS
from halftime.contract.models.transformers import IMAGE_TASKS, WITHOUT_LENGTH
from halftime.contract.report.failure import FailureCode
from halftime.contract.request.training import TrainingConfig
from tests.factories import data_of
from worker.errors import TrialFailed
from worker.messages import TrialSpec
from worker.models import blueprint_of
from worker.models.transformers import AUTO_CLASSES
from worker.models.transformers.own_loss import FORECASTERS, TASKS
from worker.trial.run import run_trial

PUBLISHED = {
    "bart-base": 140e6,
    "bert-base": 110e6,
    "bert-large": 336e6,
    "clip-vit-b32": 151_277_313,
    "convnext-large": 197_767_336,
    "convnext-tiny": 28_589_128,
    "detr-resnet-50": 41e6,
    "distilbert": 67e6,
    "gemma-3-270m": 270e6,
    "gpt2": 124e6,
    "gpt2-medium": 355e6,
    "llama-1b": 1.23e9,
    "llama-3.2-1b": 1.23e9,
    "modernbert-base": 149e6,
    "qwen2-0.5b": 0.49e9,
    "qwen3-0.6b": 600e6,
    "qwen3-moe": 671_903_744,
    "resnet-50": 25_557_032,
    "roberta-base": 125e6,
    "segformer-b0": 3.8e6,
    "t5-small": 60e6,
    "vit-base": 86_567_656,
    "whisper-tiny": 39e6,
}

#: Relative differences of counts that were published with two digits.
ROUNDED = {"detr-resnet-50": 0.015, "segformer-b0": 0.015, "whisper-tiny": 0.035}

BERT = {"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
BART = {"vocab_size": 64, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 32}
BART |= {"decoder_ffn_dim": 32, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
GPT2 = {"vocab_size": 64, "n_positions": 32, "n_embd": 16, "n_layer": 1, "n_head": 2}
LLAMA = BERT | {"num_key_value_heads": 1}
CONVNEXT = {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2}

#: Every preset, shrunk.
TINY = {
    "bart-base": BART,
    "bert-base": BERT,
    "bert-large": BERT,
    "clip-vit-b32": {
        "text_config": BERT | {"max_position_embeddings": 16},
        "vision_config": {
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "patch_size": 8,
        },
    },
    "convnext-large": CONVNEXT,
    "convnext-tiny": CONVNEXT,
    "detr-resnet-50": {
        "backbone_config": {
            "model_type": "resnet",
            "embedding_size": 8,
            "hidden_sizes": [16, 32],
            "depths": [1, 1],
            "out_features": ["stage2"],
        },
        "d_model": 16,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 32,
        "decoder_ffn_dim": 32,
        "num_queries": 8,
    },
    "distilbert": {"vocab_size": 64, "dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 32},
    "gemma-3-270m": LLAMA | {"head_dim": 8},
    "gpt2": GPT2,
    "gpt2-medium": GPT2,
    "llama-1b": LLAMA | {"head_dim": 8},
    "llama-3.2-1b": LLAMA | {"head_dim": 8},
    "modernbert-base": BERT,
    "qwen2-0.5b": LLAMA,
    "qwen3-0.6b": LLAMA | {"head_dim": 8},
    "qwen3-moe": LLAMA | {"head_dim": 8, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16},
    "resnet-50": {"embedding_size": 8, "hidden_sizes": [16, 32], "depths": [1, 1]},
    "roberta-base": BERT,
    "segformer-b0": {"hidden_sizes": [8, 16, 16, 16], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 2, 2, 2]},
    "t5-small": {"vocab_size": 64, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2},
    "whisper-tiny": {
        "vocab_size": 64,
        "d_model": 16,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 32,
        "decoder_ffn_dim": 32,
        "max_source_positions": 64,
        "max_target_positions": 16,
    },
    "vit-base": {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32},
}


def tiny(preset, **changes):
    task = changes.get("task", PRESETS[preset].task)
    size = {} if task in WITHOUT_LENGTH else {"sequence_length": 16}
    size |= {"image_size": 32} if task in IMAGE_TASKS else {}
    size |= {"num_classes": 4} if task in WITHOUT_LENGTH else {}
    return TransformersSpec(**{"preset": preset, "config": TINY[preset]} | size | changes)


def refusal_of(**spec):
    with pytest.raises(TrialFailed) as caught:
        blueprint_of(TransformersSpec(**spec)).build()
    assert caught.value.failure.code is FailureCode.INVALID_MODEL
    return caught.value.failure.detail


def test_the_presets_are_those_with_a_published_size():
    assert {name: preset.published_parameters for name, preset in PRESETS.items()} == PUBLISHED


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_has_its_published_size(name):
    with torch.device("meta"):
        model = blueprint_of(TransformersSpec(preset=name)).build()
    parameter_count = sum(weight.numel() for weight in model.parameters())
    assert parameter_count == pytest.approx(PUBLISHED[name], rel=ROUNDED.get(name, 0.01))


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_):
        raise AssertionError("something reaches for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


#: A preset of each kind of layers: in FP32 every other leg is validated.
OF_EACH_KIND = ("gpt2", "bert-base", "resnet-50", "vit-base", "t5-small", "whisper-tiny")
#: FP16 takes long on most CPUs, which emulate it.
IN_FP16 = ("gpt2", "vit-base")
TRAINED = [
    (name, precision)
    for precision, names in (("bf16", PRESETS), ("fp32", OF_EACH_KIND), ("fp16", IN_FP16))
    for name in names
]


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(("name", "precision"), TRAINED)
def test_a_shrunk_preset_trains(name, precision, caplog):
    training = TrainingConfig(batch_size=4, steps=2, warmup_steps=1, validation_samples=8)
    spec = TrialSpec(device="cpu", precision=precision, block=0, position=0, model=tiny(name), training=training)
    explained = precision == "bf16"  # whose operators are those of the other precisions and casts
    result = run_trial(spec.model_copy(update={"explained": explained}), lambda step: None)
    if explained:
        _is_wholly_explained(result)
    assert all(loss > 0 for loss in result.loss_curve)
    assert result.validation_loss > (result.data.best_possible_loss or 0)
    lowered = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}[precision]
    assert {lowered} == {dtype for dtypes in result.attestation.forward_dtypes.values() for dtype in dtypes}
    assert not caplog.records


def _is_wholly_explained(result):
    """Every operator has a kind, and the kinds together are the profiled steps."""
    assert "profile" not in result.not_examined
    assert result.profile.unknown_operators == []
    total_seconds = sum(one.profiled_seconds for one in result.profile.kinds)
    assert total_seconds == pytest.approx(result.profile.profiled_step_seconds, rel=0.05)


def test_gpt2s_own_linear_layer_is_watched():
    training = TrainingConfig(batch_size=2, steps=2, warmup_steps=1)
    spec = TrialSpec(device="cpu", precision="bf16", block=0, position=0, model=tiny("gpt2"), training=training)
    assert run_trial(spec, lambda step: None).attestation.forward_dtypes["Conv1D"] == ["bfloat16"]


OTHERS = [
    tiny("gpt2", task="sequence-classification", num_classes=3),
    tiny("bert-base", task="sequence-classification"),
    tiny("bart-base", task="sequence-classification", num_classes=3),
    tiny("t5-small", task="sequence-classification"),
    TransformersSpec(model_type="swin", task="image-classification", image_size=56, num_classes=3,
                     config={"depths": [1, 1], "num_heads": [2, 2], "embed_dim": 16}),
    TransformersSpec(model_type="clip", task="image-classification", image_size=32, num_classes=3,
                     config={"vision_config": {"num_hidden_layers": 1}}),
    TransformersSpec(model_type="deit", task="image-classification", image_size=32, num_classes=3,
                     config=TINY["vit-base"]),
    TransformersSpec(model_type="mixtral", task="causal-lm", sequence_length=16, config=LLAMA),
    TransformersSpec(model_type="mamba", task="causal-lm", sequence_length=16,
                     config={"vocab_size": 64, "num_hidden_layers": 1, "hidden_size": 16}),
]  # fmt: skip


@pytest.mark.parametrize("spec", OTHERS, ids=lambda spec: f"{spec.architecture}-{spec.trained_task}")
def test_logits_fit_the_targets(spec):
    inputs, targets = data_of(spec, TrainingConfig(batch_size=3, steps=2, warmup_steps=1)).training[0]
    logits = blueprint_of(spec).build()(inputs)
    assert logits.shape[:-1] == targets.shape
    assert int(targets.max()) < logits.shape[-1]


def test_a_classifier_reads_the_whole_sequence_whatever_its_last_token():
    """Token 5 is what the config calls padding: it is a token like any other here."""
    config = TINY["gpt2"] | {"pad_token_id": 5}
    model = blueprint_of(tiny("gpt2", config=config, task="sequence-classification")).build().eval()
    tokens = torch.full((1, 16), 7)
    other = tokens.clone()
    other[0, -1] = 5
    assert not torch.allclose(model(tokens), model(other))


@pytest.mark.parametrize("preset", ["gpt2", "llama-1b", "bert-base", "roberta-base"])
def test_a_causal_model_does_not_see_what_it_is_to_predict(preset):
    model = blueprint_of(tiny(preset, task="causal-lm")).build().eval()
    tokens = torch.randint(60, (2, 16))
    other = torch.cat([tokens[:, :-1], tokens[:, -1:] + 1], dim=1)
    assert torch.allclose(model(tokens)[:, :-1], model(other)[:, :-1], atol=1e-6)


def test_the_module_adds_no_parameters_of_its_own():
    model = blueprint_of(tiny("gpt2")).build()
    assert sum(weight.numel() for weight in model.parameters()) == model.model.num_parameters()


def test_an_image_is_as_large_as_the_architecture_says():
    assert blueprint_of(TransformersSpec(preset="vit-base")).task.shape.height == 224
    assert blueprint_of(TransformersSpec(preset="resnet-50", image_size=64)).task.shape.width == 64


def test_a_sequence_is_as_long_as_the_positions():
    assert blueprint_of(TransformersSpec(preset="roberta-base")).task.shape.length == 512
    assert blueprint_of(TransformersSpec(preset="gpt2", config=GPT2)).task.shape.length == 32
    assert blueprint_of(TransformersSpec(preset="llama-1b", config=LLAMA)).task.shape.length == 512


REFUSED = {
    "config.n_layr": {"preset": "gpt2", "config": {"n_layr": 3}},
    "config.vision_config.depth": {
        "model_type": "clip", "task": "image-classification", "config": {"vision_config": {"depth": 3}},
    },
    "sequence_length": {"preset": "gpt2", "config": {"n_positions": 8}, "sequence_length": 9},
    "config.max_position_embeddings": {"preset": "roberta-base", "config": {"max_position_embeddings": 3}},
    "config.pad_token_id": {"preset": "gpt2", "config": {"vocab_size": 64, "pad_token_id": 64}},
    "config.vocab_size": {"model_type": "esm", "task": "masked-lm"},
    "n_layer": {"preset": "gpt2", "config": {"n_layer": "three"}},
    "natten": {"model_type": "dinat", "task": "image-classification"},
    "do not divide the width": {"preset": "gpt2", "config": GPT2 | {"n_head": 3}},
}  # fmt: skip


@pytest.mark.parametrize("named", REFUSED)
def test_what_the_library_would_not_train_is_refused_by_name(named):
    assert named in refusal_of(**REFUSED[named])


def test_a_misspelt_setting_is_answered_with_those_it_may_mean():
    assert "n_layer" in refusal_of(preset="gpt2", config={"n_layr": 3}).split("Did you mean")[1]


def test_what_fails_in_training_is_not_said_to_be_the_librarys_refusal():
    blueprint = blueprint_of(tiny("gpt2"))
    with pytest.raises(IndexError):
        blueprint.build()(torch.full((1, 16), 64))


def test_out_of_memory_stays_what_it_is():
    model = blueprint_of(tiny("gpt2")).build()

    def run_out(*_):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    model.model.register_forward_pre_hook(run_out)
    with pytest.raises(torch.OutOfMemoryError):
        model(torch.zeros(1, 16, dtype=torch.int64))


def test_the_list_of_architectures_is_the_librarys():
    names = {
        "causal-lm": "CAUSAL_LM",
        "masked-lm": "MASKED_LM",
        "sequence-classification": "SEQUENCE_CLASSIFICATION",
        "image-classification": "IMAGE_CLASSIFICATION",
        "seq2seq": "SEQ_TO_SEQ_CAUSAL_LM",
    }
    auto = importlib.import_module("transformers.models.auto.modeling_auto")
    offered = {task: frozenset(getattr(auto, f"MODEL_FOR_{name}_MAPPING_NAMES")) for task, name in names.items()}
    assert {task: MODEL_TYPES[task] for task in offered} == offered
    assert offered.keys() == AUTO_CLASSES.keys()
    assert NOT_TRAINED.keys() == MODEL_TYPES.keys()
    assert all(offered[task] > NOT_TRAINED[task].keys() for task in offered)


def test_architectures_with_a_loss_of_their_own_are_among_the_librarys():
    names = {
        "token-classification": "TOKEN_CLASSIFICATION",
        "question-answering": "QUESTION_ANSWERING",
        "semantic-segmentation": "SEMANTIC_SEGMENTATION",
        "object-detection": "OBJECT_DETECTION",
        "ctc": "CTC",
        "speech-seq2seq": "SPEECH_SEQ_2_SEQ",
        "contrastive": "ZERO_SHOT_IMAGE_CLASSIFICATION",
    }
    auto = importlib.import_module("transformers.models.auto.modeling_auto")
    for task, name in names.items():
        assert MODEL_TYPES[task] <= getattr(auto, f"MODEL_FOR_{name}_MAPPING_NAMES").keys()
    assert MODEL_TYPES["time-series-forecasting"] == FORECASTERS.keys()
    assert MODEL_TYPES.keys() == AUTO_CLASSES.keys() | TASKS.keys()


def test_the_library_is_loaded_only_where_a_request_names_it_and_starts_no_cuda():
    code = (
        "import sys, torch, worker.trial.task; assert 'transformers' not in sys.modules; "
        "from halftime.contract.models import TransformersSpec; from worker.models import blueprint_of; import os; "
        "blueprint_of(TransformersSpec(preset='gpt2')); assert 'transformers' in sys.modules; "
        "assert not torch.cuda.is_initialized(); assert os.environ['HF_HUB_OFFLINE'] == '1'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
