"""The search for the largest batch: on a device that is made up, and on the real CPU."""

import anyio
import pytest

from app.reports.markdown import to_markdown
from halftime.contract.models import TransformerSpec
from halftime.contract.report.failure import Failure, FailureCode
from halftime.contract.report.figures import LEG_FIGURES
from halftime.contract.report.report import Capacity
from tests.factories import CPU, comparison, request, trial
from worker.comparison import capacity
from worker.comparison.blocks import compare
from worker.comparison.capacity import measure_capacity
from worker.report.build import make_report
from worker.report.legs import make_leg
from worker.trial.run import run_trial

pytestmark = pytest.mark.anyio

MIB = 2**20
LIMIT_MIB = 100


def asking(**training):
    settings = {"batch_size": 8, "steps": 5, "warmup_steps": 2} | training
    return request(training=settings, measurement={"capacity": True, "capacity_memory_mib": LIMIT_MIB, "min_blocks": 2})


async def search(simulate, asked=None):
    """Capacities by precision, and the specs that were tried for them."""
    measured, specs, progress = comparison(asked or asking()), [], []

    async def run_one(spec, deadline_seconds, after_step):
        specs.append(spec)
        return simulate(spec)

    await measure_capacity(measured, run_one, progress.append)
    assert all(0.8 <= seen.fraction <= 1 and seen.phase == "capacity" for seen in progress)
    return {leg.precision: leg.capacity for leg in [measured.baseline, *measured.candidates]}, specs


def fits_up_to(largest):
    """A device on which so many samples fit, half as many again in half precision; 10 ms a step."""

    def simulate(spec):
        edge = largest if spec.precision == "fp32" else largest + largest // 2
        needed = LIMIT_MIB * MIB * spec.training.batch_size // edge
        return trial(spec, peak_bytes=needed, step_seconds=0.01)

    return simulate


@pytest.mark.parametrize("largest", [1, 3, 8, 37, 62, 63])
async def test_the_largest_batch_is_found_to_the_sample_where_it_is_small(largest):
    found, _ = await search(fits_up_to(largest))
    assert found["fp32"].largest_batch_size == largest
    assert found["fp32"].smallest_too_large == largest + 1
    assert found["bf16"].largest_batch_size == largest + largest // 2


async def test_a_large_one_is_found_within_two_percent():
    found, specs = await search(fits_up_to(10_007))
    assert 0.98 * 10_007 <= found["fp32"].largest_batch_size <= 10_007
    assert found["fp32"].largest_batch_size < found["fp32"].smallest_too_large
    assert found["fp32"].tries + found["bf16"].tries == len(specs) < 50


async def test_the_throughput_is_that_of_the_largest_batch():
    found, _ = await search(fits_up_to(32))
    assert found["fp32"].samples_per_second == pytest.approx(3200)
    assert found["fp32"].peak_memory_bytes == found["fp32"].limit_bytes == LIMIT_MIB * MIB
    assert found["fp32"].stopped_by == "found"


async def test_micro_batches_stay_whole():
    found, specs = await search(fits_up_to(37), asking(gradient_accumulation=4))
    assert found["fp32"].largest_batch_size == 36
    assert {spec.training.batch_size % 4 for spec in specs} == {0}


async def test_where_nothing_fits_it_says_so():
    found, _ = await search(lambda spec: Failure.of(FailureCode.OUT_OF_MEMORY, "too big"))
    assert (found["fp32"].largest_batch_size, found["fp32"].smallest_too_large) == (None, 1)
    assert found["fp32"].samples_per_second is None


async def test_where_everything_fits_the_contract_is_the_bound():
    found, _ = await search(trial)
    assert (found["fp32"].largest_batch_size, found["fp32"].smallest_too_large) == (65_536, None)


async def test_a_batch_that_fits_for_a_few_steps_only_is_not_the_largest():
    def simulate(spec):
        if spec.training.steps == capacity.THROUGHPUT_STEPS and spec.training.batch_size > 30:
            return Failure.of(FailureCode.OUT_OF_MEMORY, "fragmented")
        return fits_up_to(32)(spec)

    found, _ = await search(simulate)
    assert (found["fp32"].largest_batch_size, found["fp32"].smallest_too_large) == (30, 31)


async def test_another_failure_ends_one_search_and_is_kept():
    def simulate(spec):
        if spec.precision == "bf16":
            return Failure.of(FailureCode.INTERNAL, "a fault of ours")
        return fits_up_to(8)(spec)

    found, _ = await search(simulate)
    assert found["fp32"].stopped_by == "found"
    assert (found["bf16"].stopped_by, found["bf16"].failure.detail) == ("failure", "a fault of ours")
    assert (found["bf16"].largest_batch_size, found["bf16"].smallest_too_large) == (None, None)


async def test_a_failure_at_the_end_takes_nothing_from_what_fits():
    def simulate(spec):
        if spec.training.steps == capacity.THROUGHPUT_STEPS:
            return Failure.of(FailureCode.INTERNAL, "a fault of ours")
        return fits_up_to(32)(spec)

    found, _ = await search(simulate)
    assert (found["fp32"].largest_batch_size, found["fp32"].smallest_too_large) == (32, 33)
    assert found["fp32"].stopped_by == "failure"


async def test_when_the_time_is_over_what_is_known_stays():
    asked = request(
        measurement={"capacity": True, "capacity_memory_mib": LIMIT_MIB, "min_blocks": 2, "time_budget_seconds": 0.3}
    )
    measured = comparison(asked)
    tries = 0

    async def run_one(spec, deadline_seconds, after_step):
        nonlocal tries
        tries += 1
        if tries == 3:
            await anyio.sleep_forever()
        return fits_up_to(100)(spec)

    await measure_capacity(measured, run_one, lambda progress: None)
    assert (measured.baseline.capacity.largest_batch_size, measured.baseline.capacity.stopped_by) == (16, "time_budget")
    assert measured.candidates[0].capacity.tries == 0


async def test_a_leg_that_failed_is_not_searched_unless_it_ran_out_of_memory():
    measured = comparison(asking())
    measured.baseline.failure = Failure.of(FailureCode.OUT_OF_MEMORY, "too big")
    measured.candidates[0].failure = Failure.of(FailureCode.NONFINITE_LOSS, "overflowed")
    searched = []

    async def run_one(spec, deadline_seconds, after_step):
        searched.append(spec.precision)
        return fits_up_to(3)(spec)

    await measure_capacity(measured, run_one, lambda progress: None)
    assert set(searched) == {"fp32"}
    assert measured.baseline.capacity.largest_batch_size == 3
    assert measured.candidates[0].capacity.tries == 0
    assert measured.candidates[0].capacity.failure == measured.candidates[0].failure


async def test_an_error_of_ours_takes_nothing_from_what_was_found_and_is_no_lack_of_time():
    measured = comparison(asking())

    async def run_one(spec, deadline_seconds, after_step):
        if spec.precision == "bf16":
            raise RuntimeError("a fault of ours")
        return fits_up_to(8)(spec)

    with pytest.raises(RuntimeError):
        await measure_capacity(measured, run_one, lambda progress: None)
    assert measured.baseline.capacity.largest_batch_size == 8
    assert measured.candidates[0].capacity is None


def said(**fields):
    """What a report says about the largest batch of a leg."""
    values = {"limit_bytes": None, "peak_memory_bytes": None, "samples_per_second": None, "failure": None} | fields
    leg = make_leg(comparison().baseline, request().config, CPU)
    return LEG_FIGURES["capacity.largest_batch_size"].words(
        leg.model_copy(update={"capacity": Capacity.model_validate(values)})
    )


FAULT = Failure.of(FailureCode.NONFINITE_LOSS, "overflowed")


@pytest.mark.parametrize(
    ("largest", "too_large", "tries", "stopped_by", "failure", "words"),
    [
        (36, 37, 9, "found", None, "36"),
        (65_536, None, 9, "found", None, "at least 65536"),
        (16, 32, 3, "time_budget", None, "at least 16"),
        (None, 1, 5, "found", None, "none: 1 is too large"),
        (None, None, 0, "time_budget", None, "not searched: the time was over"),
        (None, None, 0, "failure", FAULT, "not searched: The loss is not finite"),
        (None, None, 1, "time_budget", None, "not found: the time was over"),
        (None, 8, 2, "time_budget", None, "below 8, search ended: the time was over"),
        (None, 8, 2, "failure", FAULT, "below 8, search ended: The loss is not finite"),
    ],
)
def test_a_report_says_how_far_the_search_came_and_why_no_further(
    largest, too_large, tries, stopped_by, failure, words
):
    found = {"largest_batch_size": largest, "smallest_too_large": too_large, "tries": tries}
    assert said(**found, stopped_by=stopped_by, failure=failure) == words


async def test_a_limit_on_a_cpu_is_at_most_half_of_what_is_at_hand(monkeypatch):
    monkeypatch.setattr(capacity, "available_host_bytes", lambda: 60 * MIB)
    found, _ = await search(fits_up_to(40))
    assert found["fp32"].limit_bytes == 30 * MIB
    assert found["fp32"].largest_batch_size == 12


async def test_on_the_real_cpu_more_samples_fit_in_half_precision():
    spec = TransformerSpec(vocab_size=64, hidden_size=32, num_layers=1, num_heads=2, sequence_length=32)
    asked = request(measurement={"capacity": True, "capacity_memory_mib": 2, "min_blocks": 2, "max_blocks": 2})
    measured = comparison(asked.model_copy(update={"model": spec}))

    async def run_one(spec, deadline_seconds, after_step):
        return run_trial(spec, after_step)

    await compare(measured, run_one, lambda progress: None)
    await measure_capacity(measured, run_one, lambda progress: None)
    report = make_report("id", measured)
    fp32, bf16 = report.baseline.capacity, report.comparisons[0].candidate.capacity
    for found in (fp32, bf16):
        assert found.stopped_by == "found"
        assert found.peak_memory_bytes <= found.limit_bytes == 2 * MIB
        assert found.samples_per_second > 0
    assert bf16.largest_batch_size > fp32.largest_batch_size
    assert "Largest batch that fits" in to_markdown(report)
