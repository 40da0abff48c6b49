"""`/static`: style sheet, scripts and icon of the pages."""

from typing import Any

from starlette.responses import Response
from starlette.staticfiles import StaticFiles


class Assets(StaticFiles):
    """The files in `app/web/static`; browsers cache them and revalidate by `ETag`."""

    def __init__(self) -> None:
        super().__init__(packages=[("app.web", "static")])

    def file_response(self, *arguments: Any, **options: Any) -> Response:  # noqa: ANN401 # passed on
        """Returns the file, or 304."""
        response = super().file_response(*arguments, **options)
        response.headers["Cache-Control"] = "no-cache"
        return response
