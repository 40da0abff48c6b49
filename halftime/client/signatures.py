"""Makes a description of a call a method: the same parameters and words, and `self` before them."""

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

Method = TypeVar("Method", bound=Callable[..., Any])


def with_signature_of(description: Callable[..., Any], method: Method) -> Method:
    """The method, documented as its description is."""
    parameters = inspect.signature(description).parameters.values()
    receiver = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    method.__name__ = description.__name__
    method.__doc__ = description.__doc__
    vars(method)["__signature__"] = inspect.Signature([receiver, *parameters])
    return method
