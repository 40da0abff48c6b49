"""Validation of overrides of an architecture's config, independent of the architecture.

Overrides come from clients and reach the constructors of a large library, so only plain values are allowed: no key
from which the library reads code, a file or an address, no text except short words, and no size that exceeds a
machine's memory.
"""

import re
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

Place = tuple[str | int, ...]
Overrides = dict[str, Any]

MAX_DEPTH = 4
MAX_VALUES = 2048
MAX_KEY_LENGTH = 64
MAX_NUMBER = 1e12

KEY = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}")

#: Patterns of keys from whose values the library reads code, files, addresses or other packages' models.
DANGEROUS = re.compile(
    r"^_|auto_map|remote_code|^path|name_or_path|(file|dir|folder|url|repo|repo_id|revision)(_?name)?s?$|^token$|auth_token"
    r"|use_pretrained|backbone|timm|quanti[sz]|compression|_plan$|implementation|kernels|_(module|class)(_name)?$"
    r"|architectures|transformers_version|model_type"
)

#: Keys that Halftime sets itself, and the reason or the alternative.
OURS = {
    "dtype": "use `baseline` and `candidates`",
    "torch_dtype": "use `baseline` and `candidates`",
    "num_labels": "use `num_classes`",
    "id2label": "use `num_classes`",
    "label2id": "use `num_classes`",
    "problem_type": "use `task`",
    "image_size": "use the field `image_size`",
    "use_cache": "training needs no cache",
    "return_dict": "only logits are read",
    "output_attentions": "only logits are read",
    "output_hidden_states": "only logits are read",
    "gradient_checkpointing": "use `training.activation_checkpointing`",
}

#: Keys of counts of modules, which are built one by one in Python: a thousand take seconds.
COUNTED = re.compile(r"layers?$|layer_num$|blocks?$|depths?$|stages?$|groups$|experts$|^num_.*(layers|blocks)")
MAX_COUNTED = 1024
SIZED = re.compile(r"size|dim$|^dim_|dims$|^(num|n|d)_|heads?$|positions?$|position_embeddings$|channels$|width|length")
MAX_SIZE = 2**21
#: Keys of sizes that may be 0 to omit a part of a model.
MAY_BE_ZERO = re.compile(r"^type_vocab_size$|^chunk_size|shared|nextn|^num_(global|mem)|dense|(rope|only|moe)_layers$")


def refusal(place: Place, why: str) -> InitErrorDetails:
    """Creates the error details for a place, without the input."""
    return InitErrorDetails(type=PydanticCustomError("not_possible", "{why}", {"why": why}), loc=place, input=None)


def check_overrides(overrides: Overrides) -> Overrides:
    """Returns the overrides unchanged. Raises ValidationError with the location of every error."""
    faults = [refusal(place, fault) for place, fault in _faults(overrides)]
    if faults:
        raise ValidationError.from_exception_data("config", faults[:20])
    return overrides


def _faults(overrides: Overrides) -> Iterator[tuple[Place, str]]:
    count = 0
    pending: list[tuple[Place, str, object]] = [((), "", overrides)]
    while pending:
        place, key, value = pending.pop()
        count += 1
        if count > MAX_VALUES:
            yield (), f"must have at most {MAX_VALUES} values"
            return
        if isinstance(value, dict | list) and len(place) >= MAX_DEPTH:
            yield place, f"must be nested at most {MAX_DEPTH} deep"
        elif isinstance(value, dict):
            for name, inner in value.items():
                if fault := _fault_of_key(name):
                    yield (*place, name[:MAX_KEY_LENGTH]), fault
                else:
                    pending.append(((*place, name), name, inner))
        elif isinstance(value, list):
            pending += [((*place, index), key, inner) for index, inner in enumerate(value)]
        elif fault := _fault_of_value(key, value):
            yield place, fault


def _fault_of_key(key: str) -> str | None:
    if key in OURS:
        return f"is set by Halftime; {OURS[key]}"
    if DANGEROUS.search(key):
        return "is not allowed because it may name code, files or addresses"
    if len(key) > MAX_KEY_LENGTH or not KEY.fullmatch(key):
        return "is not a valid name of a setting"
    return None


def _fault_of_value(key: str, value: object) -> str | None:
    if isinstance(value, str):
        return None if WORD.fullmatch(value) else "must be a short word of letters, digits and . + - _"
    if value is None or isinstance(value, bool):
        return None
    return _fault_of_number(key, value) if isinstance(value, int | float) else "must be a JSON value"


def _fault_of_number(key: str, value: float) -> str | None:
    if not abs(value) <= MAX_NUMBER:  # also true for NaN
        return f"must be finite and within ± {MAX_NUMBER:g}"
    if key.endswith("_token_id"):
        return None if value >= 0 else "must not be negative"
    limit = MAX_COUNTED if COUNTED.search(key) else MAX_SIZE if SIZED.search(key) else None
    if limit is None or (value == 0 and MAY_BE_ZERO.search(key)) or 0 < value <= limit:
        return None
    return f"must be positive and at most {limit:,}"
