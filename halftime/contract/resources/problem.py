"""Errors over HTTP: RFC 9457 problem details."""

from halftime.contract.strict import Output

MEDIA_TYPE = "application/problem+json"


class FieldError(Output):
    """One fault in a request: where it is, what is wrong. The offending input is never echoed."""

    #: A JSON pointer into the body, or into `query` or `path`.
    loc: str
    msg: str
    type: str


class Problem(Output):
    """Why a request was refused."""

    #: A stable URI reference ending in the code.
    type: str
    title: str
    status: int
    detail: str
    instance: str
    #: That of the answer's `X-Request-ID`, to find it in the server's log by.
    request_id: str = ""


class ValidationProblem(Problem):
    """A refused request with the places of its faults."""

    errors: list[FieldError]
