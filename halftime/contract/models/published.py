"""What a published `config.json` holds besides the architecture, so that a whole file can be given as `config`.

Facts are accepted and not passed on to the library. A switch is accepted where it is off.
"""

from typing import Any

#: Facts about the file, its tokenizer, its labels and its use: without effect on training here.
FACTS = frozenset(
    {
        "_attn_implementation_autoset", "_commit_hash", "_diffusers_version", "_name_or_path", "_num_labels",
        "architectures", "dtype", "finetuning_task", "id2label", "label2id", "output_past", "prefix",
        "return_dict", "task_specific_params", "tf_legacy_loss", "tokenizer_class", "torch_dtype", "torchscript",
        "transformers_version", "use_bfloat16", "use_cache",
    }
)  # fmt: skip

#: Settings of text generation, which old files hold too.
GENERATION = frozenset(
    {
        "assistant_confidence_threshold", "assistant_lookbehind", "bad_words_ids", "begin_suppress_tokens",
        "diversity_penalty", "do_sample", "early_stopping", "encoder_no_repeat_ngram_size",
        "encoder_repetition_penalty", "epsilon_cutoff", "eta_cutoff", "exponential_decay_length_penalty",
        "forced_bos_token_id", "forced_decoder_ids", "forced_eos_token_id", "length_penalty", "max_length",
        "min_length", "no_repeat_ngram_size", "num_assistant_tokens", "num_assistant_tokens_schedule",
        "num_beam_groups", "num_beams", "num_return_sequences", "output_scores", "remove_invalid_values",
        "repetition_penalty", "return_dict_in_generate", "suppress_tokens", "target_lookbehind", "temperature",
        "top_k", "top_p", "typical_p",
    }
)  # fmt: skip

#: Switches that are accepted where they are off, and the reason or the alternative where they are on.
SWITCHES = {
    "gradient_checkpointing": "use `training.activation_checkpointing`",
    "output_attentions": "only logits are read",
    "output_hidden_states": "only logits are read",
}

#: Settings of a classification, which fields of the request replace.
CLASSIFICATION = frozenset({"num_labels", "problem_type"})

#: Words that choose among the library's own implementations; other words may name code to be downloaded.
IMPLEMENTATIONS = {
    "attn_implementation": ("eager", "sdpa", "flex_attention"),
    "experts_implementation": ("eager", "grouped_mm", "batched_mm"),
}


def implementation_of(name: str) -> str | None:
    """Returns the public name of a setting that chooses an implementation: files write it with an underscore."""
    public = name.removeprefix("_")
    return public if public in IMPLEMENTATIONS else None


def is_fact(name: str) -> bool:
    """Whether a setting says nothing about the architecture."""
    return name in FACTS or name in GENERATION


def is_off(value: object) -> bool:
    """Whether a value switches something off or names nothing."""
    return value is None or value is False or value in ("", [])


def is_published(config: dict[str, Any]) -> bool:
    """Whether this is a whole published file, by what the library writes into each: names it no longer reads occur."""
    return "transformers_version" in config or "architectures" in config


def labels_of(config: dict[str, Any]) -> int | None:
    """Returns the number of classes that a published file states; None without one."""
    if config.get("num_labels") is not None:
        count = config["num_labels"]
        return count if isinstance(count, int) and not isinstance(count, bool) else 0
    labels = config.get("id2label")
    return len(labels) if isinstance(labels, dict) and labels else None
