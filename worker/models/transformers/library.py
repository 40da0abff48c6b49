"""Loads the library, and turns its exceptions at building into failures of the model."""

import functools
import importlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from worker.errors import TrialFailed
from worker.errors.out_of_memory import is_out_of_memory
from worker.models.transformers.rejections import explained, refused

#: Prefixes of torch's errors of the device rather than of the model.
DEVICE_ERRORS = ("CUDA", "cuDNN", "CUBLAS")

#: How the library names a package or a setting that an architecture needs, and a setting that has the wrong type.
MISSING_PACKAGE = re.compile(r"requires the (\S+) library")
MISSING_SETTING = re.compile(r"'(\w+Config)' object has no attribute '(\w+)'")
WRONG_SETTING = re.compile(r"Validation error for field '(\w+)': (.*)")

MAX_QUOTED = 300


@functools.cache
def library() -> Any:  # noqa: ANN401 # a module imported only on demand: it takes seconds
    """Returns the module `transformers`, which reaches for no network."""
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")
    module = importlib.import_module("transformers")
    module.logging.set_verbosity_error()
    return module


@contextmanager
def library_errors(config_class: Any = None) -> Iterator[None]:  # noqa: ANN401
    """Turns exceptions of building into TrialFailed (`invalid_model`); passes on errors of the device.

    Fields are named as the config class names them.
    """
    try:
        yield
    except (TrialFailed, MemoryError):
        raise
    except Exception as error:
        if is_of_the_device(error):
            raise
        raise _rejection(error, config_class) from error


def is_of_the_device(error: Exception) -> bool:
    """Whether an error is about the device or its memory, and not about the model."""
    names_device = any(name in str(error) for name in DEVICE_ERRORS)
    return isinstance(error, RuntimeError) and (is_out_of_memory(error) or names_device)


def quoted(error: Exception) -> str:
    """Returns an error's type and the beginning of its text, on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:MAX_QUOTED]}"


def _rejection(error: Exception, config_class: Any) -> TrialFailed:  # noqa: ANN401
    text = " ".join(str(error).split())
    if known := explained(text, config_class):
        return known
    if isinstance(error, ImportError) and (package := MISSING_PACKAGE.search(text)):
        return refused("model_type", f"this architecture needs the package {package[1]}, which the worker lacks.")
    if isinstance(error, AttributeError) and (setting := MISSING_SETTING.search(text)):
        return refused("config", f"{setting[1]} needs the setting {setting[2]}, which has no default.")
    if setting := WRONG_SETTING.search(text):
        return refused(f"config.{setting[1]}", f"the transformers library rejects it: {setting[2][:MAX_QUOTED]}")
    return refused("config", f"the transformers library rejected this model when it was built: {quoted(error)}")
