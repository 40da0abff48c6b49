"""A report of a candidate that the time budget left a single short trial: whatever is missing, it can be read."""

import pytest

from app.rendering.html import to_html
from app.reports.compare import compare
from app.reports.csv import to_csv
from app.reports.markdown import to_markdown
from app.reports.text.wording import headline, leg_rows, trial_rows
from halftime.contract.report.report import Report
from tests.app.reports.reported import cut_short, reported

pytestmark = pytest.mark.anyio


async def short_report():
    return await reported(cut_short, candidates=["bf16"])


async def test_the_headline_has_the_ratio_of_the_only_block_and_no_interval():
    said = headline(await short_report())
    assert said == "BF16 was 364.64× slower than FP32 on a CPU in the only block that measured both: inconclusive."


async def test_what_is_missing_is_named_in_a_line_with_the_remedy():
    report = await short_report()
    expected = (
        "bf16: no memory figure, no comparison of a step with FP64, no rate of the fastest matrix product, for lack of "
        "time. Raise measurement.time_budget_seconds."
    )
    assert expected in report.warnings
    assert "The time budget ended after 1 of at least 2 blocks: no interval can be computed." in report.warnings


async def test_every_format_shows_what_there_is():
    report = await short_report()
    assert ("Median step (ms)", "20.020", "7,300.000") in leg_rows(report)
    assert [row[3] for row in trial_rows(report) if row[1] == "bf16"] == ["–"]
    for rendered in (to_html(report), to_markdown(report), to_csv(report)):
        assert "only block that measured both" in rendered


async def test_it_survives_json_and_can_be_compared_with_another():
    report = await short_report()
    assert Report.model_validate_json(report.model_dump_json()) == report
    assert compare(report, report).speedups[0].baseline is None
