"""Requests with a change made, ready to be posted."""

import json

from pydantic import ValidationError

from halftime.contract.request.request import BenchmarkRequest
from halftime.contract.strict import Json


def changed(request: BenchmarkRequest, **changes: object) -> Json | None:
    """The request with the fields at these places replaced; None if that is no valid request.

    Places are written as paths with double underscores, such as `config__training__batch_size`. The webhook is left
    out: its address may be secret, and reports are passed on.
    """
    body = request.model_dump(mode="json", exclude={"webhook"})
    for place, value in changes.items():
        *parents, name = place.split("__")
        owner = body
        for parent in parents:
            owner = owner[parent]
        owner[name] = value
    try:
        return BenchmarkRequest.model_validate_json(json.dumps(body)).model_dump(mode="json")
    except ValidationError:
        return None
