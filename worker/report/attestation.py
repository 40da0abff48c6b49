"""Checks that each leg ran in its stated precision, and that the legs of a block had equal weights and data."""

from collections.abc import Callable, Sequence

from halftime.contract.report.report import AttestationCheck, ReportAttestation
from halftime.contract.report.trial import NEAR_ZERO_BYTES, Attestation, Probe, TrialResult
from worker.comparison.comparison_run import ComparisonRun, LegRun, median_step
from worker.report.multiplied import multiplied_checks
from worker.report.turns import turns_checks
from worker.training.precision_facts import FACTS, expected_flags

#: Largest accepted throughput relative to the ceiling: a margin for a ceiling that was measured while the machine was
#: slower than during training.
PLAUSIBLE_SHARE = 1.25

#: What is unproven where an examination is missing from all trials of a leg.
UNPROVEN = {
    "forward_dtypes": "no step could be observed, so the dtype of its matrix products is unproven",
    "probes": "the probes could not run, so the arithmetic of its matrix products is unproven",
}


def attest(measured: ComparisonRun) -> ReportAttestation:
    """Runs every check of every leg and of the blocks."""
    checks = [check for leg in measured.legs if leg.all_trials for check in _leg_checks(leg)]
    if measured.request.config.training.deterministic:
        checks += [_all_equal(leg, "deterministic", "yes", _deterministic) for leg in measured.legs if leg.all_trials]
    checks += [
        _equal_in_blocks(measured, _weights, "initial_weights"),
        _equal_in_blocks(measured, _data, "data_order"),
        *turns_checks(measured),
    ]
    return ReportAttestation(ok=all(check.ok for check in checks), checks=checks)


def _leg_checks(leg: LegRun) -> list[AttestationCheck]:
    precision = FACTS[leg.precision]
    return [
        _all_equal(
            leg, "flags", _format_pairs(expected_flags(precision)), lambda trial: _format_pairs(trial.attestation.flags)
        ),
        _all_equal(
            leg,
            "environment_overrides",
            "none",
            lambda trial: _format_pairs(trial.attestation.environment_overrides) or "none",
        ),
        *_probe_checks(leg),
        *_dtype_checks(leg),
        *_held_checks(leg),
        *_frozen_checks(leg),
        *multiplied_checks(leg),
        _all_equal(leg, "starts_from_empty_device", "yes", _starts_empty),
        *_alone_checks(leg),
        *_plausibility_checks(leg),
    ]


def _probe_checks(leg: LegRun) -> list[AttestationCheck]:
    """Returns one check per kind of probe; a failed probe takes precedence over those that passed."""
    by_name: dict[str, Probe] = {}
    for probe in (probe for trial in leg.all_trials for probe in trial.attestation.probes):
        if probe.name not in by_name or not probe.ok:
            by_name[probe.name] = probe
    return [AttestationCheck(leg=leg.precision, **probe.model_dump(exclude={"errors"})) for probe in by_name.values()]


def _all_equal(
    leg: LegRun,
    name: str,
    expected: str,
    observe: Callable[[TrialResult], str],
    trials: Sequence[TrialResult] | None = None,
) -> AttestationCheck:
    """Checks that every trial (default: all of the leg) shows `expected`; `observed` lists all distinct values."""
    observed = " | ".join(sorted({observe(trial) for trial in trials or leg.all_trials}))
    return AttestationCheck(leg=leg.precision, name=name, expected=expected, observed=observed, ok=observed == expected)


def unproven(leg: LegRun) -> list[str]:
    """Returns what nothing proves about a leg that trained: its trials stand, but it may not pass."""
    missing = [trial.not_examined for trial in leg.measured_alone]
    return [why for examination, why in UNPROVEN.items() if missing and all(examination in one for one in missing)]


def _observed(leg: LegRun) -> list[TrialResult]:
    return [trial for trial in leg.measured_alone if "forward_dtypes" not in trial.not_examined]


def _dtype_checks(leg: LegRun) -> list[AttestationCheck]:
    """Returns no check if no step was observed, which a warning states, or if only operations show the dtypes."""
    observed = [trial for trial in _observed(leg) if not _only_operations(trial.attestation)]
    expected = FACTS[leg.precision].matmul_dtype_name
    return [_all_equal(leg, "forward_dtypes", expected, _dtypes, observed)] if observed else []


def _only_operations(attestation: Attestation) -> bool:
    """Whether a model multiplies, but has no module that is known to."""
    return not attestation.forward_dtypes and bool(attestation.multiplied_flops)


def _dtypes(trial: TrialResult) -> str:
    values = {dtype for dtypes in trial.attestation.forward_dtypes.values() for dtype in dtypes}
    return ", ".join(sorted(values)) or "no matrix-multiplying module"


def _held_checks(leg: LegRun) -> list[AttestationCheck]:
    """Checks the dtype of all trained weights, gradients and optimizer state: parameters, not operators."""
    recorded = [trial for trial in leg.all_trials if trial.attestation.held_dtypes]
    expected = FACTS[leg.precision].weights
    return [_all_equal(leg, "held_dtypes", expected, _held, recorded)] if recorded else []


def _held(trial: TrialResult) -> str:
    held = trial.attestation.held_dtypes
    dtypes = sorted({dtype for counts in held.values() for dtype in counts})
    if len(dtypes) == 1:
        return dtypes[0]
    return "; ".join(f"{what} {', '.join(sorted(counts)) or 'none'}" for what, counts in held.items())


def _frozen_checks(leg: LegRun) -> list[AttestationCheck]:
    frozen = [trial for trial in leg.all_trials if trial.attestation.frozen_weights is not None]
    return [_all_equal(leg, "frozen_weights", "unchanged", _frozen, frozen)] if frozen else []


def _frozen(trial: TrialResult) -> str:
    return trial.attestation.frozen_weights or ""


def _starts_empty(trial: TrialResult) -> str:
    start_bytes = trial.memory.start_bytes if trial.memory else None
    return "yes" if start_bytes is None or start_bytes <= NEAR_ZERO_BYTES else f"{start_bytes} bytes held"


def _alone_checks(leg: LegRun) -> list[AttestationCheck]:
    """Returns no check on a CPU, or if NVML lists no processes; a warning states the latter."""
    per_trial = [trial.telemetry.gpu.foreign_processes for trial in leg.all_trials if trial.telemetry.gpu]
    reported = [processes for processes in per_trial if processes is not None]
    if not reported:
        return []
    observed = "; ".join(sorted({process for processes in reported for process in processes})) or "yes"
    return [
        AttestationCheck(
            leg=leg.precision, name="alone_on_device", expected="yes", observed=observed, ok=observed == "yes"
        )
    ]


def _deterministic(trial: TrialResult) -> str:
    return "yes" if trial.deterministic else "no"


def achieved_flops_per_second(trial: TrialResult) -> float | None:
    """Lower bound of the median step's FLOP/s; None if no step was observed."""
    return None if trial.least_flops_per_step is None else trial.least_flops_per_step / median_step(trial)


def _plausibility_checks(leg: LegRun) -> list[AttestationCheck]:
    """Checks that no step does more work per second than the fastest matrix product measured in the leg's precision.

    Returns no check if no undisturbed trial could measure one.
    """
    ceilings = [trial.ceiling_flops_per_second for trial in leg.measured_alone if not trial.disturbances]
    ceilings_measured = [ceiling for ceiling in ceilings if ceiling is not None]
    rates = [rate for rate in map(achieved_flops_per_second, leg.measured_alone) if rate is not None]
    if not ceilings_measured or not rates:
        return []
    bound, achieved = PLAUSIBLE_SHARE * max(ceilings_measured), max(rates)
    return [
        AttestationCheck(
            leg=leg.precision,
            name="plausible_throughput",
            expected=f"at most {bound / 1e9:.1f} GFLOP/s",
            observed=f"{achieved / 1e9:.1f} GFLOP/s",
            ok=achieved <= bound,
        )
    ]


def _equal_in_blocks(
    measured: ComparisonRun, group_and_value: Callable[[TrialResult], tuple[int, str]], name: str
) -> AttestationCheck:
    """Checks that a block's trials are equal; `group_and_value` returns the group to compare within, and the value."""
    trials = [trial for leg in measured.legs for trial in leg.all_trials]
    unequal = []
    for block in sorted({trial.block for trial in trials}):
        values = {group_and_value(trial) for trial in trials if trial.block == block}
        if len(values) > len({group for group, _ in values}):
            unequal.append(str(block))
    observed = f"differs in block {', '.join(unequal)}" if unequal else "equal"
    return AttestationCheck(leg="all", name=name, expected="equal", observed=observed, ok=not unequal)


def _weights(trial: TrialResult) -> tuple[int, str]:
    """Compares all trials of a block."""
    return 0, trial.attestation.initial_weights_sha256


def _data(trial: TrialResult) -> tuple[int, str]:
    """Compares trials with the same number of steps: a loader's batches are hashed as they are drawn."""
    return len(trial.loss_curve), trial.attestation.data_sha256


def _format_pairs(pairs: dict[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(pairs.items()))
