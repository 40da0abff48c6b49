"""A report that release 0.1.0 stored opens, and reads as it did: by the byte in every text format."""

from pathlib import Path

import pytest

from app.reports.csv import to_csv
from app.reports.markdown import to_markdown
from halftime.contract.report.report import Report

EARLIER = Path(__file__).parent / "earlier"


@pytest.mark.parametrize(("name", "rendered"), [("report.csv", to_csv), ("report.md", to_markdown)])
def test_an_earlier_report_reads_as_it_did(name, rendered):
    report = Report.model_validate_json((EARLIER / "report.json").read_text())
    assert rendered(report).encode() == (EARLIER / name).read_bytes()
