"""Gives a client's method the signature and docstring of the function that defines it."""

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

Method = TypeVar("Method", bound=Callable[..., Any])


def with_signature_of(definition: Callable[..., Any], method: Method) -> Method:
    """Returns the method with the name, docstring and parameters of its definition, after `self`."""
    parameters = inspect.signature(definition).parameters.values()
    receiver = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    method.__name__ = definition.__name__
    method.__doc__ = definition.__doc__
    vars(method)["__signature__"] = inspect.Signature([receiver, *parameters])
    return method
