"""Overrides of an architecture's config: what may stand in them is decided without knowing the architecture.

They come from clients and reach the constructors of a large library, so they can hold plain values only: no key that
the library reads code, a file or an address from, no text but short words, no size beyond what a machine could hold.
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

#: Parts of keys whose values the library reads code, files, addresses or other packages' models from.
DANGEROUS = re.compile(
    r"^_|auto_map|remote_code|^path|name_or_path|(file|dir|folder|url|repo|repo_id|revision)(_?name)?s?$|^token$|auth_token"
    r"|use_pretrained|backbone|timm|quanti[sz]|compression|_plan$|implementation|kernels|_(module|class)(_name)?$"
    r"|architectures|transformers_version|model_type"
)

#: Keys that Halftime sets itself, and what a request has instead.
OURS = {
    "dtype": "the precision of a leg",
    "torch_dtype": "the precision of a leg",
    "num_labels": "`num_classes`",
    "id2label": "`num_classes`",
    "label2id": "`num_classes`",
    "problem_type": "`task`",
    "image_size": "the field `image_size`",
    "use_cache": "nothing: training needs no cache",
    "return_dict": "nothing: Halftime reads the logits",
    "output_attentions": "nothing: Halftime reads the logits",
    "output_hidden_states": "nothing: Halftime reads the logits",
    "gradient_checkpointing": "nothing",
}

#: Counts of things built one by one, in Python: a thousand take seconds.
COUNTED = re.compile(r"layers?$|layer_num$|blocks?$|depths?$|stages?$|groups$|experts$|^num_.*(layers|blocks)")
MAX_COUNTED = 1024
SIZED = re.compile(r"size|dim$|^dim_|dims$|^(num|n|d)_|heads?$|positions?$|position_embeddings$|channels$|width|length")
MAX_SIZE = 2**21
#: Sizes that are 0 where a model does without.
MAY_BE_ZERO = re.compile(r"^type_vocab_size$|^chunk_size|shared|nextn|^num_(global|mem)|dense|(rope|only|moe)_layers$")


def refusal(place: Place, why: str) -> InitErrorDetails:
    """What is wrong at a place; the input is not part of it."""
    return InitErrorDetails(type=PydanticCustomError("not_possible", "{why}", {"why": why}), loc=place, input=None)


def check_overrides(overrides: Overrides) -> Overrides:
    """The same overrides. Raises a ValidationError with the place of every fault in them."""
    faults = [refusal(place, fault) for place, fault in _faults(overrides)]
    if faults:
        raise ValidationError.from_exception_data("config", faults[:20])
    return overrides


def _faults(overrides: Overrides) -> Iterator[tuple[Place, str]]:
    seen = 0
    waiting: list[tuple[Place, str, object]] = [((), "", overrides)]
    while waiting:
        place, key, value = waiting.pop()
        seen += 1
        if seen > MAX_VALUES:
            yield (), f"more than {MAX_VALUES} values"
            return
        if isinstance(value, dict | list) and len(place) >= MAX_DEPTH:
            yield place, f"nested deeper than {MAX_DEPTH}"
        elif isinstance(value, dict):
            for name, inner in value.items():
                if fault := _fault_of_key(name):
                    yield (*place, name[:MAX_KEY_LENGTH]), fault
                else:
                    waiting.append(((*place, name), name, inner))
        elif isinstance(value, list):
            waiting += [((*place, index), key, inner) for index, inner in enumerate(value)]
        elif fault := _fault_of_value(key, value):
            yield place, fault


def _fault_of_key(key: str) -> str | None:
    if key in OURS:
        return f"is set by Halftime; use {OURS[key]}"
    if DANGEROUS.search(key):
        return "may name code, files or addresses, and is not allowed"
    if len(key) > MAX_KEY_LENGTH or not KEY.fullmatch(key):
        return "is no name of a setting"
    return None


def _fault_of_value(key: str, value: object) -> str | None:
    if isinstance(value, str):
        return None if WORD.fullmatch(value) else "must be a short word of letters, digits and . + - _"
    if value is None or isinstance(value, bool):
        return None
    return _fault_of_number(key, value) if isinstance(value, int | float) else "must be a value that JSON has"


def _fault_of_number(key: str, value: float) -> str | None:
    if not abs(value) <= MAX_NUMBER:  # NaN is neither above nor below
        return f"must be finite and within ± {MAX_NUMBER:g}"
    if key.endswith("_token_id"):
        return None if value >= 0 else "must not be negative"
    limit = MAX_COUNTED if COUNTED.search(key) else MAX_SIZE if SIZED.search(key) else None
    if limit is None or (value == 0 and MAY_BE_ZERO.search(key)) or 0 < value <= limit:
        return None
    return f"must be positive and at most {limit:,}"
