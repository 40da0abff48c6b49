"""Errors over HTTP: RFC 9457 problem details."""

from halftime.contract.strict import Output

MEDIA_TYPE = "application/problem+json"


class FieldError(Output):
    """One error in a request, with its location. The invalid input is never echoed."""

    #: A JSON pointer into the body, or into `query` or `path`.
    loc: str
    msg: str
    type: str


class Problem(Output):
    """The reason why a request was refused."""

    #: A stable URI reference ending in the code.
    type: str
    title: str
    status: int
    detail: str
    instance: str
    #: Value of the response header `X-Request-ID`, to find the request in the server's log.
    request_id: str = ""


class ValidationProblem(Problem):
    """The reason why a request was refused, with the location of each error."""

    errors: list[FieldError]
