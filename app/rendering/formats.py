"""The formats of a report, each from the report as it is stored."""

import gzip
from typing import Literal

from app.reports.csv import to_csv
from app.reports.markdown import to_markdown
from halftime.contract.report.report import Report

ReportFormat = Literal["json", "html", "md", "csv"]

#: `part`: the HTML of it that stands within a page of the service.
Rendering = Literal[ReportFormat, "part"]

MEDIA_TYPES: dict[ReportFormat, str] = {
    "json": "application/json",
    "html": "text/html",
    "md": "text/markdown",
    "csv": "text/csv",
}


def parse_report(stored: bytes) -> Report:
    """The report of its stored bytes; one of an older schema has defaults for what it lacks."""
    return Report.model_validate_json(gzip.decompress(stored), extra="ignore")


def render(stored: bytes, rendering: Rendering) -> bytes:
    """The report in a format; the first HTML of a process takes it a second to load what draws."""
    match rendering:
        case "json":
            return gzip.decompress(stored)
        case "md":
            return to_markdown(parse_report(stored)).encode()
        case "csv":
            return to_csv(parse_report(stored)).encode()
        case "html" | "part":
            from app.rendering.html import part_of_page, to_html  # noqa: PLC0415 # 120 MB that only those who draw need

            draw = to_html if rendering == "html" else part_of_page
            return draw(parse_report(stored)).encode()
