"""The charts of a report in a notebook."""

import anyio
import pytest
from altair.vegalite.v6.schema import load_schema
from jsonschema import Draft7Validator

from halftime.charts import CHARTS
from halftime.client.notebook import ChartedReport, Charts
from halftime.contract.report.report import Report
from tests.app.reports.explained import explained
from tests.app.reports.reported import on_a_gpu, reported, reported_in_turns


@pytest.fixture(scope="module")
def report():
    return explained(anyio.run(reported, on_a_gpu))


@pytest.fixture
def charted(report):
    return ChartedReport.model_validate_json(report.model_dump_json())


@pytest.fixture(scope="module")
def vega_lite():
    return Draft7Validator(load_schema())


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_in_a_notebook_is_valid_vega_lite_that_shows_itself(charted, vega_lite, name):
    if name == "turns":
        charted = ChartedReport.model_validate_json(anyio.run(reported_in_turns).model_dump_json())
    chart = getattr(charted.charts, name)()
    assert chart._repr_mimebundle_()
    vega_lite.validate(chart.to_dict())


def test_a_chart_in_a_notebook_can_be_moved_and_zoomed(charted):
    (parameter,) = charted.charts.loss().to_dict()["params"]
    assert (parameter["bind"], parameter["select"]["type"]) == ("scales", "interval")


def test_every_chart_of_a_report_has_its_method():
    assert {name for name in vars(Charts) if not name.startswith("_")} - {"report"} == set(CHARTS)


def test_a_chart_with_nothing_to_show_says_why(charted):
    with pytest.raises(LookupError, match="No step times are stored"):
        ChartedReport.model_validate(charted.without_samples().model_dump()).charts.step_times()


def test_a_report_with_charts_is_equal_to_one_without(charted, report):
    assert charted == report
    assert report == charted
    assert charted != report.model_copy(update={"blocks": 99})
    assert set(ChartedReport.model_fields) == set(Report.model_fields)
