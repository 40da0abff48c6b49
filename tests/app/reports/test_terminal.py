"""The report in a terminal."""

import io

import pytest
from rich.console import Console

from app.reports.terminal import print_report
from app.reports.text.wording import headline
from tests.app.reports.reported import on_a_gpu, reported

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("width", [40, 100])
async def test_no_figure_is_cut_and_the_answer_comes_last(width):
    report = await reported(on_a_gpu)
    written = io.StringIO()
    print_report(Console(file=written, width=width), report)
    said = written.getvalue()
    assert "…" not in said
    assert max(len(line) for line in said.splitlines()) <= width
    assert " ".join(said.split()).endswith(headline(report))
