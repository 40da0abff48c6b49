"""From profiled steps to the split of a leg's median step, and what bounds each kind."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halftime.contract.report.explanation import OperatorTime, ProfiledKind, StepProfile
from halftime.contract.report.report import Leg
from halftime.contract.resources.worker import Bandwidth, DeviceCeilings
from worker.report.time_by_kind import fastest_bandwidth, split_step

KIB, MIB = 2**10, 2**20
CEILINGS = DeviceCeilings(
    flops_per_second={"fp32": 1e12, "bf16": 4e12},
    memory=[
        Bandwidth(size_bytes=64 * KIB, bytes_per_second=1e11),
        Bandwidth(size_bytes=64 * MIB, bytes_per_second=1e10),
    ],
    launch_seconds=1e-5,
    torch="2.13.0",
    driver=None,
)


def leg(step_seconds=1.0, **values):
    empty = dict.fromkeys(Leg.model_fields) | {
        "validation_metrics": {}, "gains_over_chance": {}, "loss_curve": [], "trials": [], "time_by_kind": [],
        "shortened_trials": 0, "disturbed_trials": 0, "repeated_trials": 0,
    }  # fmt: skip
    return Leg.model_validate(empty | {"precision": "bf16", "median_step_seconds": step_seconds} | values)


def kind(name, seconds, inside=0.0, calls=1.0, flops=None, moved=None):
    return ProfiledKind(
        kind=name,
        profiled_seconds=seconds,
        recorded_inside=inside,
        calls=calls,
        flops_by_dtype=flops or {},
        bytes_by_size=moved if moved is not None else {},
    )


def profile(*kinds, delay=0.0):
    total = sum(one.profiled_seconds for one in kinds)
    return StepProfile(steps=3, profiled_step_seconds=total, host_delay_seconds=delay, kinds=list(kinds))


def rows_of(of_leg, of_profile, ceilings=CEILINGS, device="cpu"):
    return {row.kind: row for row in split_step(of_leg, of_profile, ceilings, device)}


amounts = st.floats(1e-6, 10.0)


@given(
    st.lists(st.tuples(amounts, st.integers(0, 1000)), min_size=1, max_size=5), amounts, st.floats(0.0, 2.0),
    st.floats(0.0, 0.9),
)  # fmt: skip
def test_the_split_adds_up_to_the_median_step(parts, step_seconds, delay_share, data_share):
    names = ["matrix_products", "elementwise", "optimizer", "host", "unassigned"]
    kinds = [kind(name, seconds, inside) for name, (seconds, inside) in zip(names, parts, strict=False)]
    total = sum(one.profiled_seconds for one in kinds)
    split = split_step(
        leg(step_seconds, data_wait_share=data_share), profile(*kinds, delay=total * delay_share), CEILINGS, "cpu"
    )
    assert sum(row.seconds_per_step for row in split) == pytest.approx(step_seconds)
    assert all(row.seconds_per_step >= 0 for row in split)


def test_the_profilers_delay_is_taken_out_where_it_arose():
    rows = rows_of(leg(), profile(kind("elementwise", 0.6), kind("host", 1.4, inside=1000), delay=1.0))
    assert rows["elementwise"].seconds_per_step == pytest.approx(0.6)
    assert rows["host"].seconds_per_step == pytest.approx(0.4)


def test_the_wait_for_data_is_what_was_measured():
    rows = rows_of(leg(data_wait_share=0.25), profile(kind("elementwise", 2.0), kind("host", 1.0)))
    assert {name: row.seconds_per_step for name, row in rows.items()} == pytest.approx(
        {"elementwise": 0.5, "host": 0.25, "data": 0.25}
    )


def test_the_largest_of_the_least_times_bounds_a_kind():
    rows = rows_of(
        leg(1.0),
        profile(
            kind("matrix_products", 0.4, flops={"bfloat16": 8e11}),
            kind("elementwise", 0.4, moved={128 * MIB: 2e9}),
            kind("reductions", 0.2, calls=10_000),
        ),
    )
    assert {name: (row.bound_by, row.share_of_ceiling) for name, row in rows.items()} == {
        "matrix_products": ("compute", pytest.approx(0.5)),
        "elementwise": ("memory", pytest.approx(0.5)),
        "reductions": ("launches", pytest.approx(0.5)),
    }


def test_nothing_is_said_to_bind_where_no_ceiling_explains_the_time():
    rows = rows_of(leg(), profile(kind("elementwise", 1.0, moved={64 * MIB: 1e8})))
    assert rows["elementwise"].bound_by is None
    assert rows["elementwise"].share_of_ceiling == pytest.approx(0.01)


def test_without_ceilings_or_known_bytes_nothing_is_said():
    assert rows_of(leg(), profile(kind("elementwise", 1.0, moved={1024: 1.0})), None)["elementwise"].bound_by is None
    fused = ProfiledKind(kind="fused", profiled_seconds=1.0, recorded_inside=0, calls=1, bytes_by_size=None)
    row = rows_of(leg(), profile(fused))["fused"]
    assert (row.bound_by, row.share_of_ceiling, row.least_bytes) == (None, None, None)


def test_products_left_in_fp32_are_measured_against_the_peak_of_fp32():
    rows = rows_of(leg(), profile(kind("matrix_products", 1.0, flops={"float32": 5e11, "bfloat16": 1e12})))
    assert rows["matrix_products"].share_of_ceiling == pytest.approx(0.5 + 0.25)


def test_the_legs_own_faster_products_raise_the_ceiling():
    rows = rows_of(leg(ceiling_flops_per_second=8e12), profile(kind("matrix_products", 1.0, flops={"bfloat16": 4e12})))
    assert rows["matrix_products"].share_of_ceiling == pytest.approx(0.5)


def test_no_share_exceeds_the_ceiling():
    rows = rows_of(leg(), profile(kind("elementwise", 1.0, moved={1024: 1e13})))
    assert rows["elementwise"].share_of_ceiling == 1.0


def test_bandwidth_is_the_larger_of_the_sizes_around():
    assert [fastest_bandwidth(size, CEILINGS.memory) for size in (1, MIB, 128 * MIB)] == [1e11, 1e11, 1e10]


def test_a_gpus_kernels_are_not_delayed_by_the_profiler_but_wait_longer_for_the_host():
    slowed = profile(kind("elementwise", 0.010), kind("host", 0.006), delay=0.006)
    rows = rows_of(leg(0.010), slowed, device="cuda")
    assert rows["elementwise"].seconds_per_step == pytest.approx(0.010)
    assert rows["host"].seconds_per_step == 0


def test_a_gpus_kernels_are_not_bound_by_launches_and_small_ones_not_by_the_memory_of_slow_launches():
    small = kind("elementwise", 1.0, calls=50_000, moved={64 * KIB: 2e9})
    row = rows_of(leg(), profile(small), device="cuda")["elementwise"]
    assert (row.bound_by, row.share_of_ceiling) == (None, pytest.approx(0.2))


def test_a_kind_s_operators_share_its_time_as_in_the_profile():
    """Half of the kind's profiled time is the profiler's delay; a step takes three times as long as the rest."""
    elementwise = kind("elementwise", 0.4, inside=2.0).model_copy(
        update={"slowest_operators": [OperatorTime(name="aten::gelu", seconds_per_step=0.3)]}
    )
    rows = rows_of(leg(3.0), profile(elementwise, kind("host", 0.8), delay=0.2))
    assert rows["elementwise"].seconds_per_step == pytest.approx(0.6)
    (gelu,) = rows["elementwise"].slowest_operators
    assert gelu.seconds_per_step == pytest.approx(0.45)
