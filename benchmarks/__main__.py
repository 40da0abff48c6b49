"""`python -m benchmarks [NAME ...]`: measures, prints, and writes `benchmarks/results/NAME.DEVICE.json`."""

import json
import sys
from pathlib import Path

from benchmarks import (
    api_memory,
    architectures,
    attacks,
    disturbed_machine,
    explanation,
    fault_injection,
    generated_requests,
    identical_work,
    learning,
    listeners,
    loop_overhead,
    pairing,
    recovery,
    seen_architectures,
    submit_to_step,
    throughput,
)
from benchmarks.fleet import history as fleet_history
from benchmarks.fleet import soak as fleet_soak
from benchmarks.fleet import submit_to_start as fleet_submit_to_start
from benchmarks.fleet import throughput as fleet_throughput
from testing import coverage, upgrade
from testing.machine import machine

RESULTS = Path(__file__).parent / "results"
BENCHMARKS = {
    "loop_overhead": loop_overhead.measure,
    "submit_to_step": submit_to_step.measure,
    "api_memory": api_memory.measure,
    "listeners": listeners.measure,
    "throughput": throughput.measure,
    "coverage": coverage.measure,
    "identical_work": identical_work.measure,
    "explanation": explanation.measure,
    "learning": learning.measure,
    "pairing": pairing.measure,
    "disturbed_machine": disturbed_machine.measure,
    "architectures": architectures.measure,
    "seen_architectures": seen_architectures.measure,
    "attacks": attacks.measure,
    "generated_requests": generated_requests.measure,
    "upgrade": upgrade.measure,
    "recovery": recovery.measure,
    "fault_injection": fault_injection.measure,
    "fleet_throughput": fleet_throughput.measure,
    "submit_to_start": fleet_submit_to_start.measure,
    "history_cost": fleet_history.measure,
    "soak": fleet_soak.measure,
}


def main() -> None:
    """Run the named benchmarks, or all of them."""
    RESULTS.mkdir(exist_ok=True)
    for name in sys.argv[1:] or list(BENCHMARKS):
        facts = machine()
        result = {"benchmark": name, "machine": facts, **BENCHMARKS[name]()}
        device = "cpu" if facts["cuda"] is None else "cuda"
        path = RESULTS / f"{name}.{device}.json"
        path.write_text(json.dumps(result, indent=2) + "\n")
        print(path.name, json.dumps({key: value for key, value in result.items() if key != "machine"}, indent=2))


if __name__ == "__main__":
    main()
