"""`/static`: style, scripts and the icon of the pages."""

from typing import Any

from starlette.responses import Response
from starlette.staticfiles import StaticFiles


class Assets(StaticFiles):
    """What lies in `app/web/static`, to be kept by browsers and asked for again by its `ETag`."""

    def __init__(self) -> None:
        super().__init__(packages=[("app.web", "static")])

    def file_response(self, *arguments: Any, **options: Any) -> Response:  # noqa: ANN401 # handed on
        """The file, or 304."""
        response = super().file_response(*arguments, **options)
        response.headers["Cache-Control"] = "no-cache"
        return response
