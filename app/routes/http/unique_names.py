"""Refuses JSON bodies whose objects repeat a name: parsers keep one value of it and drop the other silently."""

from fastapi import Depends, Request

from app import errors
from halftime.contract.resources.problem import FieldError
from halftime.contract.strict_json import InvalidJson, repeated_names


async def refuse_repeated_names(request: Request) -> None:
    """Raises Invalid at every repeated name. Leaves a body that is not JSON to the route."""
    try:
        pointers = repeated_names(await request.body())
    except InvalidJson:
        return
    if pointers:
        raise repeated(pointers)


def repeated(pointers: list[str]) -> errors.Invalid:
    """Returns the error of a body that repeats names."""
    faults = [FieldError(loc=pointer, msg="is set more than once", type="repeated_name") for pointer in pointers]
    return errors.Invalid("The body sets a name more than once. Keep one of them and send it again.", faults)


#: Dependency of a route that takes a JSON body.
UniqueNames = Depends(refuse_repeated_names)
