"""`/static`: style sheet, scripts and icon of the pages."""

from typing import Any

from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from typing_extensions import override


class Assets(StaticFiles):
    """The files in `app/web/static`; browsers cache them and revalidate by `ETag`."""

    def __init__(self) -> None:
        super().__init__(packages=[("app.web", "static")])

    @override
    def file_response(self, *arguments: Any, **options: Any) -> Response:  # passed on
        """Returns the file, or 304."""
        response = super().file_response(*arguments, **options)
        response.headers["Cache-Control"] = "no-cache"
        return response
