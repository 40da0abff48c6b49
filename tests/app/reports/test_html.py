"""The report as one HTML file: complete, safe, self-contained, and readable in every shape."""

import base64
import gzip
import json
import re
from functools import partial
from html.parser import HTMLParser

import anyio
import pytest

from app.rendering.formats import parse_report
from app.rendering.html import MAX_SAMPLES, to_html
from app.reports.text.verdict_words import requirement_words, verdict_words
from app.reports.text.wording import headline, other_answers, requirement_rows
from app.web.inlined import policy, stylesheet
from app.web.rendering import environment
from halftime.contract.report.failure import Failure, FailureCode
from halftime.contract.report.report import Report
from halftime.contract.request.request import Requirements
from tests.app.reports.reported import (
    cut_short,
    mislabelled,
    on_a_gpu,
    reported,
    reported_for,
    simulated,
    without_a_baseline,
    without_a_candidate,
)
from tests.factories import request

LAX = {"min_speedup": 1.1, "min_memory_reduction_percent": 1}
HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(1)>\u202etxt.exe'
LONG = "x" * 10_000


class Page(HTMLParser):
    """The elements of a page with their attributes, and its visible text in order."""

    def __init__(self, source):
        super().__init__()
        self.elements, self.texts, self.hidden = [], [], 0
        self.feed(source)
        self.text = " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.hidden += tag in {"style", "svg", "title"}

    def handle_endtag(self, tag):
        self.hidden -= tag in {"style", "svg", "title"}

    def handle_data(self, data):
        if not self.hidden:
            self.texts.append(data)

    def attributes(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def report():
    return anyio.run(reported)


@pytest.fixture(scope="module")
def page(report):
    return Page(to_html(report))


def judged(verdict, report):
    return report.model_copy(update={"verdict": verdict, "reasons": [f"because it is {verdict}"]})


@pytest.mark.parametrize("verdict", ["pass", "fail", "inconclusive", "invalid"])
def test_the_answer_its_verdict_and_its_uncertainty_come_before_everything_else(report, verdict):
    text = Page(to_html(judged(verdict, report))).text
    first = text[: text.index("Charts")]
    assert text.index(verdict_words(verdict)) < text.index(headline(judged(verdict, report)))
    for _, measured, _, status in requirement_rows(report.comparisons[0], report.data):
        assert measured in first
        assert requirement_words(status) in first
    assert f"because it is {verdict}" in first
    assert ("Do not use these results" in first) == (verdict == "invalid")


def test_data_whose_best_accuracy_nobody_knows_tells_its_best_loss_alone(report):
    data = report.data.model_copy(update={"best_possible_loss": 1.5, "best_possible_accuracy": None})
    text = Page(to_html(report.model_copy(update={"data": data}))).text
    assert "Best possible result on this data: loss 1.5000 nats." in text


def test_nothing_of_an_invalid_report_passes():
    found = anyio.run(partial(reported, mislabelled))
    assert [found.verdict, *(one.verdict for one in found.comparisons)] == ["invalid"] * 3
    assert headline(found).startswith("Invalid comparison: BF16 is ")
    statuses = {status for one in found.comparisons for *_, status in requirement_rows(one, found.data) if status}
    assert statuses == {"invalid", "off"}


def test_a_candidate_that_failed_is_answered_with_the_cause_alone():
    found = anyio.run(partial(reported, without_a_candidate))
    assert (
        headline(found) == "BF16 could not be compared with FP32 on a CPU (BF16: out of memory): requirements not met."
    )
    assert found.reasons == [f"{name}: Out of memory. asked for 9 GiB, 1 GiB was free" for name in ("bf16", "fp16")]


def test_each_candidate_is_answered_with_its_own_verdict_and_the_first_with_that_of_all():
    lax = {"min_speedup": 1.1, "min_memory_reduction_percent": 1}
    asked = request(candidates=["bf16", "fp32"]).model_copy(update={"requirements": Requirements(**lax)})
    found = anyio.run(reported_for, asked)
    assert [found.verdict, *(one.verdict for one in found.comparisons)] == ["fail", "pass", "fail"]
    assert headline(found).endswith(": requirements met. All candidates: requirements not met.")
    (other,) = other_answers(found)
    assert other.endswith(": requirements not met.")


def test_what_is_not_met_is_said_in_words(report):
    assert "bf16: a memory reduction of at least 40 % is required, and not met" in report.reasons


def test_the_same_precision_twice_has_two_names():
    text = Page(to_html(anyio.run(partial(reported, candidates=["fp32"])))).text
    assert "FP32 again is indistinguishable in speed from FP32" in text
    assert "needs the same amount of memory" in text
    assert "fp32 again against fp32" in text


def test_a_report_is_in_the_order_in_which_it_is_read(page):
    headings = ["Charts", "Measurements", "Attestation", "Measurement conditions", "Warnings", "Raw samples"]
    places = [page.text.index(f" {heading} ") for heading in headings]
    assert places == sorted(places)


def test_every_figure_check_and_warning_is_in_the_page(report):
    text = Page(to_html(report.model_copy(update={"warnings": ["The fan is loud: oil it."]}))).text
    assert "The fan is loud: oil it." in text
    assert "Read the warning before" in text
    for check in report.attestation.checks:
        assert f"{check.name} {check.expected} {check.observed}" in text
    assert report.environment.device in text


@pytest.mark.parametrize(
    "shape",
    [
        partial(reported, on_a_gpu),
        partial(reported, without_a_candidate),
        partial(reported, without_a_baseline),
        partial(reported, cut_short),
        partial(reported, mislabelled),
        partial(reported, candidates=["fp32"]),
        partial(reported, measurement={"min_blocks": 2, "max_blocks": 2, "control": True}),
    ],
    ids=["GPU", "no candidate", "no baseline", "cut short", "invalid", "A/A", "control"],
)
def test_a_report_of_any_shape_opens(shape):
    found = anyio.run(shape)
    text = Page(to_html(found)).text
    assert headline(found) in text
    assert all(reason in text for reason in found.reasons)


def test_a_report_without_a_single_trial_opens(report):
    legs = [report.baseline, *(found.candidate for found in report.comparisons)]
    nothing = {
        name: None for name in type(legs[0]).model_fields if legs[0].model_fields_set and name.endswith("_bytes")
    }
    empty = [
        leg.model_copy(
            update=nothing
            | {"trials": [], "loss_curve": [], "median_step_seconds": None, "memory_breakdown": None}
            | {"grad_scaler": None, "numerics": None, "failure": Failure.of(FailureCode.OUT_OF_MEMORY, "no room")}
        )
        for leg in legs
    ]
    gone = {"speedup": None, "memory_reduction_percent": None, "accuracy_difference": None, "loss_difference": None}
    comparisons = [
        found.model_copy(update={"candidate": leg} | gone)
        for found, leg in zip(report.comparisons, empty[1:], strict=True)
    ]
    bare = {"noise_floor": None, "environment": None, "data": None, "blocks": 0, "stopped_by": "leg_failed"}
    page = Page(to_html(report.model_copy(update={"baseline": empty[0], "comparisons": comparisons} | bare)))
    assert "could not be compared" in page.text
    assert page.text.count("no chart.") == 6


def test_a_report_whose_samples_retention_dropped_opens_and_offers_none(report):
    page = Page(to_html(report.without_samples()))
    assert "Retention has deleted the raw samples" in page.text
    assert not [one for one in page.attributes("a") if "download" in one]


def test_a_report_of_an_older_schema_opens(report):
    older = json.loads(report.model_dump_json())
    del older["samples_dropped"]
    for leg in [older["baseline"], *(found["candidate"] for found in older["comparisons"])]:
        del leg["mean_step_seconds"], leg["data_wait_share"]
        for trial in leg["trials"]:
            del trial["disturbances"], trial["repeats"], trial["compilation"], trial["deterministic"]
    older["a_field_of_a_later_release"] = 1
    assert headline(report) in Page(to_html(parse_report(gzip.compress(json.dumps(older).encode())))).text


@pytest.mark.parametrize("given", [HOSTILE, LONG], ids=["markup", "10,000 characters"])
def test_hostile_text_is_shown_as_text(report, given):
    environment = report.environment.model_copy(update={"device": given, "os": given})
    checks = [check.model_copy(update={"observed": given}) for check in report.attestation.checks]
    attestation = report.attestation.model_copy(update={"checks": checks})
    told = {"warnings": [given], "reasons": [given], "environment": environment, "attestation": attestation}
    plain, page = Page(to_html(report)), Page(to_html(report.model_copy(update=told)))
    assert page.text.count(given) >= 4
    assert {tag for tag, _ in page.elements} == {tag for tag, _ in plain.elements}
    isolated = [attributes for _, attributes in page.elements if "given" in attributes.get("class", "")]
    assert len(isolated) >= 4


def test_the_page_asks_for_nothing_and_allows_nothing(report, page):
    assert not page.attributes("script")
    assert not page.attributes("link")
    source = to_html(report)
    (policy_of_page,) = [one["content"] for one in page.attributes("meta") if "http-equiv" in one]
    assert policy_of_page == policy()
    assert re.findall(r"<style>(.*?)</style>", source, re.DOTALL) == [stylesheet()]
    addresses = [
        value for _, attributes in page.elements for name, value in attributes.items() if name in {"src", "href"}
    ]
    assert all(address.startswith(("#", "data:application/gzip;")) for address in addresses), addresses
    assert not [attributes for _, attributes in page.elements if "style" in attributes]


def test_the_whole_report_can_be_taken_out_of_the_page(report, page):
    (link,) = [one for one in page.attributes("a") if "download" in one]
    packed = base64.b64decode(link["href"].removeprefix("data:application/gzip;base64,"))
    assert Report.model_validate_json(gzip.decompress(packed)) == report
    assert link["download"] == f"halftime-{report.benchmark_id}.json.gz"


def test_the_page_of_a_very_long_benchmark_stays_small():
    def simulate(spec):
        made = simulated(spec)
        times = [0.01 + 1e-6 * ((7919 * step + spec.block) % 10_007) for step in range(10_000)]
        return made.model_copy(update={"step_seconds": times, "loss_curve": times, "gradient_norms": times})

    long = anyio.run(partial(reported, simulate, measurement={"min_blocks": 15, "max_blocks": 15}))
    source = to_html(long)
    assert sum(len(trial.step_seconds) for trial in long.baseline.trials) == 150_000 > MAX_SAMPLES
    assert len(source.encode()) < 3_000_000
    assert "--output report.json" in Page(source).text


@pytest.mark.parametrize("code", FailureCode)
def test_a_benchmark_without_a_report_says_what_happened_and_what_to_do(code):
    failure = Failure.of(code, f"it went wrong: {HOSTILE}")
    page = Page(rendered_failure(status="failed", failure=failure))
    assert page.text.index(f"No report: {failure.title}.") < page.text.index(failure.detail)
    assert page.text.index(failure.detail) < page.text.index("What to do:")
    assert not page.attributes("script")


def test_a_cancelled_benchmark_says_so():
    assert "No report: the benchmark was cancelled." in Page(rendered_failure(status="cancelled", failure=None)).text


def rendered_failure(**told):
    benchmark = {"attempt": 1, "worker": None, "links": {"logs": "/benchmarks/1/logs"}} | told
    return environment().get_template("report/failure.html").render(benchmark=benchmark)
