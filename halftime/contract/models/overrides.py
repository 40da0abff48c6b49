"""Validation of overrides of an architecture's config, independent of the architecture.

Overrides come from clients and reach the constructors of a large library, so only plain values are allowed: no key
from which the library reads code, a file or an address, no text except short words, and no size that exceeds a
machine's memory. A whole published `config.json` is accepted, with its facts and labels (`published.py`).
"""

import re
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError, ValidationInfo
from pydantic_core import InitErrorDetails, PydanticCustomError

from halftime.contract.models.published import IMPLEMENTATIONS, SWITCHES, implementation_of, is_fact, is_off
from halftime.contract.strict import ACCEPTED

Place = tuple[str | int, ...]
Overrides = dict[str, Any]

MAX_DEPTH = 4
MAX_VALUES = 2048
MAX_KEY_LENGTH = 64
MAX_NUMBER = 1e12
#: Limits of the values of facts: labels are the largest, 21,841 in both directions for ImageNet-21k.
MAX_FACTS = 100_000
MAX_FACT_LENGTH = 1024

KEY = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
#: A name of the library, or a list of short names with separators, such as a pattern of layers.
WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+*|-]{0,255}")

#: Patterns of keys, in either case, whose text a library reads as code, files, addresses or other packages' models.
NAMES_CODE = re.compile(
    r"^_|auto_map|remote_code|(^|_)codes?$|^custom_|^path|paths?$|(file|dir|folder|repo|revision)(_?name)?s?$"
    r"|(^|_)(address|endpoint|host|ur[il])(_?name)?(e?s)?$|(^|_)(hub|model|repo)_ids?$|(^|_)(checkpoint|ckpt)s?$"
    r"|(^|_)(command|import|script)s?$|(tokenizer|processor)$|^token$|auth_token"
    r"|backbone$|timm|pretrained|quanti[sz]|compression|_plan$|implementation|kernels$",
    re.IGNORECASE,
)
#: The same, of keys whose objects are parts of an architecture.
NAMES_CODE_AS_TEXT = re.compile(NAMES_CODE.pattern + r"|_(module|class)(_name)?$|(^|_)weights$", re.IGNORECASE)
#: Patterns of keys that make a library read one of those if they are true.
ALLOWS_CODE = re.compile(r"^_|remote_code|use_pretrained|^pretrained$|timm|^token$|auth_token", re.IGNORECASE)

#: Keys of counts of modules, which are built one by one in Python: a thousand take seconds.
COUNTED = re.compile(r"layers?$|layer_num$|blocks?$|depths?$|stages?$|groups$|experts$|^num_.*(layers|blocks)")
MAX_COUNTED = 1024
SIZED = re.compile(r"size|dim$|^dim_|dims$|^(num|n|d)_|heads?$|positions?$|position_embeddings$|channels$|width|length")
MAX_SIZE = 2**21
#: Keys of sizes that may be 0 to omit a part of a model.
MAY_BE_ZERO = re.compile(
    r"^type_vocab_size$|^chunk_size|shared|nextn|^num_(global|mem)|dense|(rope|only|moe)_layers$|experts|^pretrained_"
)
#: Keys of sizes for which published files write -1: as many as the architecture has positions.
MAY_BE_UNLIMITED = re.compile(r"^max_relative_positions$|^position_buckets$")
#: What published files write for a token that the vocabulary does not have.
NO_TOKEN = -1


def refusal(place: Place, why: str) -> InitErrorDetails:
    """Creates the error details for a place, without the input."""
    return InitErrorDetails(type=PydanticCustomError("not_possible", "{why}", {"why": why}), loc=place, input=None)


def check_overrides(overrides: Overrides, info: ValidationInfo) -> Overrides:
    """Returns the overrides unchanged. Raises ValidationError with the location of every error.

    What was accepted before is not checked again: an earlier release may have allowed more.
    """
    if info.context is ACCEPTED:
        return overrides
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
                if fault := _fault_of_setting(name, inner):
                    yield (*place, name[:MAX_KEY_LENGTH]), fault
                elif _is_a_setting(name, inner):
                    pending.append(((*place, name), name, inner))
        elif isinstance(value, list):
            pending += [((*place, index), key, inner) for index, inner in enumerate(value)]
        elif fault := _fault_of_value(key, value):
            yield place, fault


def _is_a_setting(name: str, value: object) -> bool:
    """Whether the value of a setting is still to be checked."""
    return not (is_fact(name) or implementation_of(name) or (NAMES_CODE.search(name) and is_off(value)))


def _fault_of_setting(name: str, value: object) -> str | None:
    if is_fact(name):
        return _fault_of_fact(value)
    if name in SWITCHES:
        return None if is_off(value) else f"is set by Halftime; {SWITCHES[name]}"
    if public := implementation_of(name):
        return _fault_of_implementation(value, IMPLEMENTATIONS[public])
    if names_code(name, value):
        return "is not allowed because it may name code, files or addresses"
    is_valid = len(name) <= MAX_KEY_LENGTH and KEY.fullmatch(name)
    is_harmless = NAMES_CODE.search(name) and is_off(value)
    return None if is_valid or is_harmless else "is not a valid name of a setting"


def names_code(name: str, value: object) -> bool:
    """Whether a setting makes the library read code, a file or an address: by its text, or by being true."""
    if isinstance(value, bool | int | float) and value:
        return ALLOWS_CODE.search(name) is not None
    if isinstance(value, dict):
        return NAMES_CODE.search(name) is not None
    texts = value if isinstance(value, list) else [value]
    return any(isinstance(text, str | list | dict) and text for text in texts) and bool(NAMES_CODE_AS_TEXT.search(name))


def _fault_of_implementation(value: object, words: tuple[str, ...]) -> str | None:
    parts = list(value.values()) if isinstance(value, dict) else [value]
    if all(part is None or part in words for part in parts):
        return None
    return f"must be one of {', '.join(words)}: another name may be code to download"


def _fault_of_fact(fact: object) -> str | None:
    """Facts are only stored, so their texts may be sentences; what a database cannot store is refused."""
    pending, count = [fact], 0
    while pending:
        value = pending.pop()
        count += 1
        if count > MAX_FACTS:
            return f"must have at most {MAX_FACTS:,} values"
        if isinstance(value, dict):
            pending += [*value.keys(), *value.values()]
        elif isinstance(value, list):
            pending += value
        elif isinstance(value, str):
            if len(value) > MAX_FACT_LENGTH or "\0" in value or not _is_unicode(value):
                return f"must be text of at most {MAX_FACT_LENGTH} characters"
        elif isinstance(value, int | float) and not abs(value) <= MAX_NUMBER:
            return f"must be finite and within ± {MAX_NUMBER:g}"
    return None


def _is_unicode(text: str) -> bool:
    """Whether a text has no lone surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _fault_of_value(key: str, value: object) -> str | None:
    if isinstance(value, str):
        return None if WORD.fullmatch(value) else "must be a short word of letters, digits and . + - _ * |"
    if value is None or isinstance(value, bool):
        return None
    return _fault_of_number(key, value) if isinstance(value, int | float) else "must be a JSON value"


def _fault_of_number(key: str, value: float) -> str | None:
    if not abs(value) <= MAX_NUMBER:  # also true for NaN
        return f"must be finite and within ± {MAX_NUMBER:g}"
    if key.endswith("_token_id"):
        return None if value >= NO_TOKEN else "must not be negative"
    limit = MAX_COUNTED if COUNTED.search(key) else MAX_SIZE if SIZED.search(key) else None
    if value == -1 and MAY_BE_UNLIMITED.search(key):
        return None
    if limit is None or (value == 0 and MAY_BE_ZERO.search(key)) or 0 < value <= limit:
        return None
    return f"must be positive and at most {limit:,}"
