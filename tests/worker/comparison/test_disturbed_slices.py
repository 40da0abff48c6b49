"""Which slices are disturbed, and when a trial is: by what the machine did meanwhile. Trials are made up."""

import pytest

from tests.factories import gpu_telemetry, telemetry
from tests.trials_in_turns import trial_in_turns
from tests.worker.comparison.in_turns import slice_of
from worker.comparison import disturbance
from worker.comparison.comparison_run import LegRun
from worker.comparison.disturbance import flag_disturbed_slices

CORES = 2

SECONDS = 0.5


def one_slice(index, **changes):
    return slice_of(4 * index, 4, index * SECONDS, (index + 1) * SECONDS, **changes)


def flagged(slices, **changes):
    """Trials of two legs on two cores, each with such slices, after they were judged."""
    legs = [LegRun("fp32", "fp32"), LegRun("bf16", "bf16")]
    for leg in legs:
        trial = trial_in_turns([[1.0] * 4] * len(slices), precision=leg.precision)
        leg.trials.append(trial.model_copy(update={"slices": slices} | changes))
    flag_disturbed_slices(legs, CORES)
    first, second = (leg.trials[0] for leg in legs)
    assert [one.disturbances for one in first.slices] == [one.disturbances for one in second.slices]
    return first


def disturbed_rounds(trial):
    return [index for index, one in enumerate(trial.slices) if one.disturbances]


def waits(*shares, **changes):
    """Slices in which a thread waited for a core for such shares of their time."""
    return [one_slice(index, run_delay_seconds=share * SECONDS, **changes) for index, share in enumerate(shares)]


def test_a_slice_in_which_a_thread_waited_for_a_core_is_disturbed_and_its_neighbours_are_not():
    trial = flagged(waits(0.01, 0.5, 0.01, 0.01, 0.13, 0.11, 0.0, 0.0))
    assert disturbed_rounds(trial) == [1, 4]
    assert trial.slices[1].disturbances == ["a thread waited for a CPU core for 50 % of the time"]
    assert trial.disturbances == []


def test_the_threads_of_the_leg_before_may_spin_though_a_slice_be_short():
    spun = [slice_of(4 * index, 4, index * 0.05, (index + 1) * 0.05, run_delay_seconds=0.01) for index in range(2)]
    assert disturbed_rounds(flagged(spun)) == []


def test_other_programs_on_cores_that_were_left_do_not_disturb_threads_that_did_not_wait():
    others = {"foreign_cpu_seconds": 0.4 * CORES * SECONDS}
    assert disturbed_rounds(flagged(waits(0.0, 0.0, **others))) == []
    assert disturbed_rounds(flagged([one_slice(0, **others), one_slice(1, **others)])) == [0, 1]


def test_where_cores_are_shared_by_the_hardwares_threads_other_programs_disturb_beside_them_too(monkeypatch):
    monkeypatch.setattr(disturbance.psutil, "cpu_count", lambda logical=True: CORES if logical else CORES // 2)
    assert disturbed_rounds(flagged(waits(0.0, 0.0, foreign_cpu_seconds=0.4 * CORES * SECONDS))) == [0, 1]


def test_other_programs_on_most_cores_disturb_all():
    trial = flagged(waits(0.0, 0.0, foreign_cpu_seconds=0.6 * CORES * SECONDS))
    assert trial.slices[0].disturbances == ["other programs kept 1.2 of 2 cores busy"]


def test_a_hypervisor_that_takes_cores_is_no_wait_and_yet_disturbs():
    taken = {"foreign_cpu_seconds": 0.2, "stolen_cpu_seconds": 0.2}
    trial = flagged(waits(0.0, 0.0, **taken))
    assert trial.slices[0].disturbances == ["a hypervisor took 0.4 of 2 cores"]


def test_where_waits_are_unknown_successive_rounds_are_judged_together():
    """A round of two slices lasts a second, which the kernel's counters can tell of; four shorter ones are a window."""
    short = [slice_of(4 * index, 4, index * 0.125, (index + 1) * 0.125) for index in range(8)]
    short[1] = short[1].model_copy(update={"foreign_cpu_seconds": 0.125})
    assert disturbed_rounds(flagged(short)) == [0, 1, 2, 3]


def test_one_slice_of_which_waits_are_unknown_leaves_its_window_to_the_counters():
    known = [slice_of(4, 4, 0, 0.25, foreign_cpu_seconds=0.1, run_delay_seconds=0.0)] * 4
    unknown = known[3].model_copy(update={"run_delay_seconds": None})
    assert disturbed_rounds(flagged(known)) == []
    assert disturbed_rounds(flagged([*known[:3], unknown])) == [2, 3]


def test_cores_of_the_host_do_not_disturb_a_leg_on_a_gpu():
    assert disturbed_rounds(flagged(waits(0.5, 0.5), telemetry=telemetry(gpu_telemetry()))) == []


@pytest.mark.parametrize(("slices", "undisturbed", "is_flagged"), [(16, 4, False), (16, 3, True), (4, 2, False)])
def test_a_trial_is_disturbed_if_too_few_of_its_slices_are_undisturbed(slices, undisturbed, is_flagged):
    shares = [0.0] * undisturbed + [0.3] * (slices - undisturbed)
    trial = flagged(waits(*shares))
    first = "a thread waited for a CPU core for 30 % of the time"
    reason = f"in {slices - undisturbed} of {slices} slices, first {first}"
    assert trial.disturbances == ([reason] if is_flagged else [])
