"""What a report says of the device that its worker owns."""

import pytest

from tests.app.acts import CEILINGS
from tests.factories import CPU, comparison, request, trial
from worker.comparison.blocks import compare
from worker.report.build import make_report

pytestmark = pytest.mark.anyio


async def report_on(**changes):
    async def run(spec, deadline_seconds, after_step):
        return trial(spec)

    measured = comparison(request(candidates=["bf16"]), CPU.model_copy(update=changes))
    return make_report("id", await compare(measured, run, lambda progress: None))


async def test_a_report_has_the_ceilings_of_its_worker_s_device():
    assert (await report_on(ceilings=CEILINGS)).ceilings == CEILINGS
    assert (await report_on()).ceilings is None


async def test_legs_have_the_vendor_s_peak_of_a_known_gpu():
    report = await report_on(gpu="NVIDIA H200")
    peaks = [leg.vendor_peak_flops_per_second for leg in (report.baseline, report.comparisons[0].candidate)]
    assert peaks == pytest.approx([66.9e12, 989.4e12])
    assert (await report_on()).baseline.vendor_peak_flops_per_second is None
