"""What `halftime doctor` is told of the devices of this machine."""

from app.cli.commands import doctor as command
from tests.app.acts import CEILINGS, EMULATED, support
from worker.trial import probe as doctor

SICK = "the product of two matrices is wrong"


def probed(**changes):
    """A device as the probe tells of it."""
    values = {
        "device": "cuda:0", "kind": "cuda", "gpu": "NVIDIA H200", "memory_bytes": 2**37, "precisions": ["fp32"],
        "problems": {}, "support": None, "ceilings": None, "ceilings_missing": None, "faults": [], "torch": "2.13.0",
    }  # fmt: skip
    return values | changes


def measured(precisions):
    return [one.model_dump(mode="json") for one in precisions]


def test_a_device_tells_what_it_can_do_in_every_precision():
    (cpu,) = [device for device in doctor.probe_devices() if device["device"] == "cpu"]
    assert [one["precision"] for one in cpu["support"]] == ["fp32", "tf32", "fp16", "bf16", "bf16-true"]
    assert cpu["precisions"] == ["fp32", "fp16", "bf16", "bf16-true"]
    assert set(cpu["problems"]) == {"tf32"}
    assert set(cpu["ceilings"]["flops_per_second"]) == {"fp32", "fp16", "bf16", "bf16-true"}
    assert cpu["ceilings_missing"] is None


def test_a_sick_device_is_not_measured(monkeypatch):
    monkeypatch.setattr(doctor, "arithmetic_faults", lambda name: iter([SICK]))
    monkeypatch.setattr(doctor, "measure_support", None)
    monkeypatch.setattr(doctor, "ceilings_or_reason", None)
    (cpu,) = [device for device in doctor.probe_devices() if device["device"] == "cpu"]
    assert (cpu["faults"], cpu["support"], set(cpu["problems"])) == ([SICK], None, {"tf32"})
    assert (cpu["ceilings"], cpu["ceilings_missing"]) == (None, None)


def test_a_device_is_told_with_kernels_and_rates():
    found = command.device_finding(probed(support=measured([support("fp32", 5e13), support("bf16", 7.9e14)])))
    assert found["part"] == "cuda:0 (NVIDIA H200)"
    assert found["state"] == "fp32 50 TFLOP/s · bf16 790 TFLOP/s; 128 GiB; torch 2.13.0"
    assert (found["ok"], found["remedy"]) == (True, "")


def test_a_device_is_told_with_its_ceilings_or_why_they_are_unknown():
    found = command.device_finding(probed(ceilings=CEILINGS.model_dump(mode="json")))
    assert "at most fp32 232 GFLOP/s · bf16 810 GFLOP/s · 64 KiB at 40.1 GB/s" in found["state"]
    assert found["ceilings"]["launch_seconds"] == 6.2e-7
    found = command.device_finding(probed(ceilings_missing="out of memory"))
    assert found["state"] == "fp32; ceilings unknown: out of memory; 128 GiB; torch 2.13.0"
    assert found["ok"]


def test_what_is_emulated_and_what_is_absent_is_told_with_its_remedy_and_is_no_fault():
    why = {"tf32": "A CPU has no tf32."}
    found = command.device_finding(probed(support=measured(EMULATED), problems=why))
    assert found["ok"]
    assert [one["kernels"] for one in found["precisions"]] == ["native", "absent", "emulated", "emulated"]
    assert found["remedy"] == (
        "The device has no fp16 arithmetic: use fp32. The device has no bf16 arithmetic: use fp32. A CPU has no tf32."
    )


def test_of_a_sick_device_the_precisions_are_told_by_name():
    found = command.device_finding(probed(faults=[SICK]))
    assert not found["ok"]
    assert found["state"].startswith("sick; fp32; 128 GiB")
    assert found["remedy"] == SICK
