"""Renders the report as a self-contained HTML file, which needs no network access."""

import base64
import gzip
from dataclasses import dataclass

from app.reports.text.wording import legs_of
from app.web.inlined import policy, stylesheet
from app.web.rendering import environment
from halftime.charts import drawn
from halftime.contract.report.report import Report

#: Most samples (numbers) embedded in a file; more would make it slow to send and to open.
MAX_SAMPLES = 60_000


@dataclass(frozen=True)
class Samples:
    """The raw samples as a download from within the page; `href` is None if they are too many."""

    count: int
    href: str | None
    file_name: str


def to_html(report: Report) -> str:
    """Renders a report as a file with all its charts and, up to MAX_SAMPLES, its raw samples."""
    template = environment().get_template("report/file.html")
    return template.render(
        report=report, charts=drawn(report), samples=_samples(report), stylesheet=stylesheet(), policy=policy()
    )


def part_of_page(report: Report) -> str:
    """Renders a report as a part of a page of the service, which offers the samples as a download."""
    return environment().get_template("report/body.html").render(report=report, charts=drawn(report))


def _samples(report: Report) -> Samples:
    legs = [*legs_of(report), *([report.control] if report.control else [])]
    trials = [trial for leg in legs for trial in leg.all_trials()]
    count = sum(len(trial.step_seconds) + len(trial.loss_curve) + len(trial.gradient_norms) for trial in trials)
    name = f"halftime-{report.benchmark_id}.json.gz"
    return Samples(count, _data_url(report) if count <= MAX_SAMPLES else None, name)


def _data_url(report: Report) -> str:
    """Returns the report as a data URL, identical for identical reports: gzip stores no time."""
    compressed = gzip.compress(report.model_dump_json().encode(), mtime=0)
    return f"data:application/gzip;base64,{base64.b64encode(compressed).decode()}"
