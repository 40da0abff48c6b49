"""Whether every leg ran as it is called, and the legs of a block from the same weights on the same data."""

from collections.abc import Callable, Sequence

from halftime.contract.report.report import AttestationCheck, ReportAttestation
from halftime.contract.report.trial import NEAR_ZERO_BYTES, Probe, TrialResult
from worker.comparison.legs import ComparisonRun, LegRun, median_step
from worker.training.precision_facts import FACTS, expected_flags

#: Of the ceiling: a margin for a ceiling that was measured while the machine was slower than in training.
PLAUSIBLE_SHARE = 1.25


def attest(measured: ComparisonRun) -> ReportAttestation:
    """Every check of every leg, and of the blocks."""
    checks = [check for leg in measured.legs if leg.trials for check in _leg_checks(leg)]
    if measured.request.config.training.deterministic:
        checks += [_all_equal(leg, "deterministic", "yes", _deterministic) for leg in measured.legs if leg.trials]
    checks += [
        _equal_in_blocks(measured, _weights, "initial_weights"),
        _equal_in_blocks(measured, _data, "data_order"),
    ]
    return ReportAttestation(ok=all(check.ok for check in checks), checks=checks)


def _leg_checks(leg: LegRun) -> list[AttestationCheck]:
    precision = FACTS[leg.precision]
    return [
        _all_equal(leg, "flags", _words(expected_flags(precision)), lambda trial: _words(trial.attestation.flags)),
        _all_equal(
            leg,
            "environment_overrides",
            "none",
            lambda trial: _words(trial.attestation.environment_overrides) or "none",
        ),
        *_probe_checks(leg),
        *_dtype_checks(leg),
        _all_equal(leg, "starts_from_empty_device", "yes", _starts_empty),
        *_alone_checks(leg),
        *_plausibility_checks(leg),
    ]


def _probe_checks(leg: LegRun) -> list[AttestationCheck]:
    """One check per kind of probe; where a trial's failed, that trial's is shown."""
    by_name: dict[str, Probe] = {}
    for probe in (probe for trial in leg.trials for probe in trial.attestation.probes):
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
    """What every trial of the leg, or of those given, showed; where they differ, all that was seen."""
    observed = " | ".join(sorted({observe(trial) for trial in trials or leg.trials}))
    return AttestationCheck(leg=leg.precision, name=name, expected=expected, observed=observed, ok=observed == expected)


def unproven(legs: Sequence[LegRun]) -> list[LegRun]:
    """Those that trained, but of which no step could be observed."""
    return [leg for leg in legs if leg.trials and not _observed(leg)]


def _observed(leg: LegRun) -> list[TrialResult]:
    return [trial for trial in leg.trials if "forward_dtypes" not in trial.not_examined]


def _dtype_checks(leg: LegRun) -> list[AttestationCheck]:
    """None where no step could be observed: a warning says why."""
    observed = _observed(leg)
    expected = FACTS[leg.precision].matmul_dtype_name
    return [_all_equal(leg, "forward_dtypes", expected, _dtypes, observed)] if observed else []


def _dtypes(trial: TrialResult) -> str:
    seen = {dtype for dtypes in trial.attestation.forward_dtypes.values() for dtype in dtypes}
    return ", ".join(sorted(seen)) or "no matrix-multiplying module"


def _starts_empty(trial: TrialResult) -> str:
    start_bytes = trial.memory.start_bytes if trial.memory else None
    return "yes" if start_bytes is None or start_bytes <= NEAR_ZERO_BYTES else f"{start_bytes} bytes held"


def _alone_checks(leg: LegRun) -> list[AttestationCheck]:
    """None on a CPU, and where NVML does not tell: a warning says so."""
    told = [trial.telemetry.gpu.foreign_processes for trial in leg.trials if trial.telemetry.gpu]
    known = [processes for processes in told if processes is not None]
    if not known:
        return []
    observed = "; ".join(sorted({process for processes in known for process in processes})) or "yes"
    return [
        AttestationCheck(
            leg=leg.precision, name="alone_on_device", expected="yes", observed=observed, ok=observed == "yes"
        )
    ]


def _deterministic(trial: TrialResult) -> str:
    return "yes" if trial.deterministic else "no"


def achieved_flops_per_second(trial: TrialResult) -> float | None:
    """What the median step did at least, per second; None where no step could be observed."""
    return None if trial.least_flops_per_step is None else trial.least_flops_per_step / median_step(trial)


def _plausibility_checks(leg: LegRun) -> list[AttestationCheck]:
    """No step does more work per second than the fastest matrix product seen in the leg's precision.

    None where no undisturbed trial had room to measure one.
    """
    ceilings = [trial.ceiling_flops_per_second for trial in leg.trials if not trial.disturbances]
    known = [ceiling for ceiling in ceilings if ceiling is not None]
    rates = [rate for rate in map(achieved_flops_per_second, leg.trials) if rate is not None]
    if not known or not rates:
        return []
    bound, achieved = PLAUSIBLE_SHARE * max(known), max(rates)
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
    measured: ComparisonRun, shown: Callable[[TrialResult], tuple[int, str]], name: str
) -> AttestationCheck:
    """Whether the trials of every block show the same; `shown` says among which of them, and what."""
    trials = [trial for leg in measured.legs for trial in leg.trials]
    unequal = []
    for block in sorted({trial.block for trial in trials}):
        seen = {shown(trial) for trial in trials if trial.block == block}
        if len(seen) > len({among for among, _ in seen}):
            unequal.append(str(block))
    observed = f"differs in block {', '.join(unequal)}" if unequal else "equal"
    return AttestationCheck(leg="all", name=name, expected="equal", observed=observed, ok=not unequal)


def _weights(trial: TrialResult) -> tuple[int, str]:
    """Among all trials of a block."""
    return 0, trial.attestation.initial_weights_sha256


def _data(trial: TrialResult) -> tuple[int, str]:
    """Among trials of as many steps: a loader's batches are hashed as they come."""
    return len(trial.loss_curve), trial.attestation.data_sha256


def _words(pairs: dict[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(pairs.items()))
