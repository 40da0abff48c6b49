"""The formats of a report, each rendered from the stored bytes."""

import gzip
from typing import Literal

from app.reports.csv import to_csv
from app.reports.markdown import to_markdown
from halftime.contract.report.report import Report

ReportFormat = Literal["json", "html", "md", "csv"]

#: `part` is the HTML of the report within a page of the service.
Rendering = Literal[ReportFormat, "part"]

MEDIA_TYPES: dict[ReportFormat, str] = {
    "json": "application/json",
    "html": "text/html",
    "md": "text/markdown",
    "csv": "text/csv",
}


def parse_report(stored: bytes) -> Report:
    """Parses stored bytes: gzipped JSON. Fields that an older schema lacks get their defaults."""
    return Report.model_validate_json(gzip.decompress(stored), extra="ignore")


def render(stored: bytes, rendering: Rendering) -> bytes:
    """Returns the report in a format. The first HTML of a process takes a second more to load the chart libraries."""
    match rendering:
        case "json":
            return gzip.decompress(stored)
        case "md":
            return to_markdown(parse_report(stored)).encode()
        case "csv":
            return to_csv(parse_report(stored)).encode()
        case "html" | "part":
            from app.rendering.html import part_of_page, to_html  # noqa: PLC0415 # 120 MB that only charts need

            draw = to_html if rendering == "html" else part_of_page
            return draw(parse_report(stored)).encode()
