"""Sizes under other names: trained, or refused at their field before training."""

import pytest

from halftime.contract.models import TransformersSpec
from halftime.contract.request.training import TrainingConfig
from worker.errors import TrialFailed
from worker.messages import TrialSpec
from worker.models import blueprint_of
from worker.trial.run import run_trial

BERT = {"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
WIDTHS = {
    "vocab_size": 64, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32,
}  # fmt: skip
LED = WIDTHS | {"attention_window": 8, "max_encoder_position_embeddings": 32, "max_decoder_position_embeddings": 32}
BLOCKS = {"attention_type": "block_sparse", "block_size": 2, "num_random_blocks": 1}
BIG_PEGASUS = WIDTHS | BLOCKS | {"max_position_embeddings": 64}
GEMMA = BERT | {"num_key_value_heads": 1, "head_dim": 8}
PERCEIVER = {
    "vocab_size": 64, "d_model": 16, "d_latents": 16, "num_latents": 4, "num_blocks": 1,
    "num_self_attends_per_block": 1, "num_self_attention_heads": 2, "num_cross_attention_heads": 2,
    "max_position_embeddings": 32,
}  # fmt: skip
REFORMER = {
    "vocab_size": 64, "hidden_size": 32, "num_attention_heads": 2, "feed_forward_size": 64, "attention_head_size": 16,
    "attn_layers": ["local"], "axial_pos_embds_dim": [8, 24], "axial_pos_shape": [4, 4], "is_decoder": True,
    "max_position_embeddings": 16, "local_attn_chunk_length": 4,
}  # fmt: skip
SWIN = {"depths": [1, 1, 1, 1], "num_heads": [1, 1, 1, 1], "embed_dim": 16}
HIERA = {"embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "embed_dim_multiplier": 2.0, "num_query_pool": 1}


def text(model_type, task, config, length=16):
    return TransformersSpec(model_type=model_type, task=task, config=config, sequence_length=length)


def image(model_type, config, size):
    return TransformersSpec(
        model_type=model_type, task="image-classification", config=config, image_size=size, num_classes=3
    )


TRAINED = {
    "padding of a masked BART": text("bart", "masked-lm", WIDTHS | {"max_position_embeddings": 32}),
    "padding of ESM, without a default": text("esm", "masked-lm", BERT | {"max_position_embeddings": 32}),
    "padding of two configs": text("t5gemma", "seq2seq", {"encoder": GEMMA, "decoder": GEMMA}),
    "code points for a vocabulary": text("canine", "sequence-classification", BERT, 32),
    "positions of a decoder": text("whisper", "causal-lm", WIDTHS, None),
    "positions under another name": text(
        "mpt", "causal-lm", {"vocab_size": 64, "d_model": 16, "n_heads": 2, "n_layers": 1, "max_seq_len": 24}, None
    ),
    "as long as the positions": text("perceiver", "masked-lm", PERCEIVER, 32),
    "samples lengthened to a window": text("led", "seq2seq", LED, 12),
    "as long as the axial positions": text("reformer", "causal-lm", REFORMER),
    "an image size that is a list": image("hiera", HIERA, 64),
    "logits under another name": image("pp_lcnet", {}, 32),
}


@pytest.mark.parametrize("name", TRAINED)
def test_a_size_under_another_name_trains(name):
    training = TrainingConfig(batch_size=2, steps=2, warmup_steps=1, validation_samples=4)
    spec = TrialSpec(device="cpu", precision="bf16", block=0, position=0, model=TRAINED[name], training=training)
    assert all(loss is not None for loss in run_trial(spec, lambda step: None).loss_curve)


def test_a_default_length_ends_with_the_positions():
    assert blueprint_of(TRAINED["positions of a decoder"]).task.shape.length == 448
    assert blueprint_of(TRAINED["positions under another name"]).task.shape.length == 24


REFUSED = {
    "model.sequence_length: 16 does not fit": text("perceiver", "masked-lm", PERCEIVER),
    "model.sequence_length: 8 does not fit": text("reformer", "causal-lm", REFORMER, 8),
    "model.image_size: 112 does not fit this architecture with this config; 224 does": image("swin", SWIN, 112),
    "model.sequence_length: 25 tokens, but": text(
        "mpt", "causal-lm", {"vocab_size": 64, "d_model": 16, "n_heads": 2, "n_layers": 1, "max_seq_len": 24}, 25
    ),
    "model.model_type: this architecture needs the package natten": image("dinat", {}, 64),
    "model.config: this model does not run on samples of its task": image("pp_lcnet", {"stem_channels": 2}, 64),
}  # fmt: skip


@pytest.mark.parametrize("detail", REFUSED)
def test_a_size_that_does_not_fit_is_refused_at_its_field(detail):
    with pytest.raises(TrialFailed) as caught:
        blueprint_of(REFUSED[detail])
    assert caught.value.failure.detail.startswith(detail)
    assert not caught.value.failure.retryable


@pytest.mark.parametrize(
    ("spec", "read"),
    [
        (text("llama", "causal-lm", BERT), None),
        (text("longformer", "masked-lm", BERT | {"attention_window": 8}, 12), 1),
        (TRAINED["samples lengthened to a window"], 1),
        (text("big_bird", "sequence-classification", BERT | BLOCKS, 21), 0),
        (text("bigbird_pegasus", "question-answering", BIG_PEGASUS, 21), 0),
        (text("bert", "masked-lm", BERT), None),
        (text("gpt2", "sequence-classification", {"vocab_size": 64, "n_embd": 16, "n_layer": 1, "n_head": 2}), -1),
        (TRAINED["padding of a masked BART"], -1),
    ],
    ids=["llama", "longformer", "led", "big-bird", "big-pegasus", "bert", "gpt2-classifier", "bart"],
)
def test_a_model_searches_for_padding_only_where_it_must(spec, read):
    """The search waits for the device; without a padding token there is none."""
    assert blueprint_of(spec).build().model.config.pad_token_id == read
