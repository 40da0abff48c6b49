"""Architectures that are hard to examine: each trains, and is examined as far as it can be. Real trials at toy size."""

import pytest

from halftime.contract.models import TransformersSpec
from halftime.contract.request.training import TrainingConfig
from worker.messages import TrialSpec
from worker.training.precision_facts import FACTS
from worker.trial.run import run_trial

TEXT = {"vocab_size": 64, "hidden_size": 16, "num_attention_heads": 2}
DECODER = TEXT | {"intermediate_size": 32, "num_key_value_heads": 2}
MARIAN = {
    "vocab_size": 64,
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
}
LEVIT = {"hidden_sizes": [16, 32, 48], "num_attention_heads": [2, 2, 2], "depths": [1, 1, 1], "key_dim": [8, 8, 8]}
REFORMER = TEXT | {
    "attention_head_size": 8,
    "feed_forward_size": 32,
    "attn_layers": ["local", "lsh"],
    "axial_pos_shape": [4, 4],
    "axial_pos_embds_dim": [8, 8],
}

#: What is hard about each: experts multiply group by group, for which torch has no FP64 kernel; a mask is filled with
#: the smallest number of FP64, which FP32 has not; position embeddings are frozen; attention biases are kept between
#: passes in evaluation mode; and so is a recurrent state, with its graph.
EXAMINED = {
    "mixtral": ("causal-lm", DECODER | {"num_hidden_layers": 1, "num_local_experts": 4, "num_experts_per_tok": 2}),
    "xglm": ("causal-lm", {"vocab_size": 64, "d_model": 16, "ffn_dim": 32, "num_layers": 1, "attention_heads": 2}),
    "marian": ("seq2seq", MARIAN),
    "levit": ("image-classification", LEVIT),
    "recurrent_gemma": ("causal-lm", DECODER | {"num_hidden_layers": 2, "lru_width": 16}),
}


def trial_of(model_type, task, config, precision):
    size = {"image_size": 64, "num_classes": 4} if task == "image-classification" else {"sequence_length": 16}
    spec = TrialSpec(
        device="cpu",
        precision=precision,
        block=0,
        position=0,
        model=TransformersSpec(model_type=model_type, task=task, config=config, **size),
        training=TrainingConfig(batch_size=4, steps=3, warmup_steps=1, validation_samples=8),
        examined=True,
    )
    return run_trial(spec, lambda step: None)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("model_type", EXAMINED)
def test_nothing_is_left_out_of_its_examination(model_type, precision):
    result = trial_of(model_type, *EXAMINED[model_type], precision)
    assert result.not_examined == {}
    assert result.memory.breakdown.total_bytes() == result.memory.peak_bytes
    found = result.numerics
    assert found.gradient_relative_rmse < FACTS[precision].max_error_ratio * found.explained_relative_rmse


def test_the_experts_that_autocast_leaves_in_fp32_are_named():
    attestation = trial_of("mixtral", *EXAMINED["mixtral"], "bf16").attestation
    assert attestation.forward_dtypes == {"Linear": ["bfloat16"]}
    assert 0.2 < attestation.share_multiplied_in("bfloat16") < 0.8
    (experts,) = attestation.multiplied_elsewhere
    assert (experts.module_class, experts.operator) == ("MixtralExperts", "aten::_grouped_mm")
    assert experts.module.endswith("layers.0.mlp.experts")


def test_what_cannot_be_examined_is_missing_with_its_reason_and_the_trial_stands():
    """Its backward pass computes the forward pass anew, only in training mode, and calls modules as it does."""
    result = trial_of("reformer", "causal-lm", REFORMER, "bf16")
    assert set(result.not_examined) == {"numerics", "memory_breakdown"}
    assert "model.train()" in result.not_examined["numerics"]
    assert len(result.step_seconds) == 2
    assert result.memory.peak_bytes > 0
    assert result.attestation.forward_dtypes == {"Linear": ["bfloat16"]}
    assert result.attestation.multiplied_flops["float32"] > 0, "the second forward pass is outside autocast"
