"""The report as one HTML file that needs nothing else: it opens from a disk, with the network off."""

import base64
import gzip
from dataclasses import dataclass

from app.reports.wording import legs_of
from app.web.inlined import policy, stylesheet
from app.web.rendering import environment
from halftime.charts import drawn
from halftime.contract.report.report import Report

#: Numbers that a file carries along; a page with more of them would be slow to send and to open.
MOST_SAMPLES = 60_000


@dataclass(frozen=True)
class Samples:
    """The raw samples as a download out of the page; without an address where they are too many."""

    count: int
    href: str | None
    file_name: str


def to_html(report: Report) -> str:
    """The answer, the requirements with their verdicts, pictures, figures, proof, and the samples where they fit."""
    template = environment().get_template("report/file.html")
    return template.render(
        report=report, charts=drawn(report), samples=_samples(report), stylesheet=stylesheet(), policy=policy()
    )


def part_of_page(report: Report) -> str:
    """The same within a page of the service, which has the samples to fetch."""
    return environment().get_template("report/body.html").render(report=report, charts=drawn(report))


def _samples(report: Report) -> Samples:
    legs = [*legs_of(report), *([report.control] if report.control else [])]
    trials = [trial for leg in legs for trial in leg.trials]
    count = sum(len(trial.step_seconds) + len(trial.loss_curve) + len(trial.gradient_norms) for trial in trials)
    name = f"halftime-{report.benchmark_id}.json.gz"
    return Samples(count, _carried(report) if count <= MOST_SAMPLES else None, name)


def _carried(report: Report) -> str:
    """Same report, same address: no time of packing in it."""
    packed = gzip.compress(report.model_dump_json().encode(), mtime=0)
    return f"data:application/gzip;base64,{base64.b64encode(packed).decode()}"
