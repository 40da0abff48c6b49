"""Wording of figures and verdicts, shared by all formats of a report."""

from collections.abc import Sequence

from app.reports.text.pairing import pairing_lines
from app.reports.text.settings import adapters_lines, model_line, training_line
from app.reports.text.verdict_words import verdict_words
from halftime.contract.report.estimate import Estimate
from halftime.contract.report.figures import (
    Figure,
    Owner,
    Shown,
    Value,
    comparison_figures,
    judged_figure,
    leg_figures,
    shown_as,
    trial_figures,
)
from halftime.contract.report.metrics import MetricFacts
from halftime.contract.report.named_legs import named_legs
from halftime.contract.report.report import (
    Comparison,
    Difference,
    Leg,
    Report,
    Requirement,
    Verdict,
)
from halftime.contract.report.requirements import metric_requirement, requirement_kind
from halftime.contract.report.sensitivity import can_tell_apart
from halftime.contract.report.trial import DataFacts, MemoryBreakdown, TrialResult, metrics_of

MIB = 2**20

#: Titles of metrics in the plural; others are the same.
PLURALS = {"accuracy": "accuracies", "loss": "losses"}

#: Placeholder for a missing figure.
NOTHING = "–"


def headline(report: Report) -> str:
    """Summarizes the first candidate against the baseline; adds the report's verdict if it differs."""
    answer, verdict = _answer(report, 0), _verdict(report, report.comparisons[0])
    return answer if verdict == report.verdict else f"{answer} All candidates: {verdict_words(report.verdict)}."


def other_answers(report: Report) -> list[str]:
    """Summarizes every further candidate, one sentence each."""
    return [_answer(report, place) for place in range(1, len(report.comparisons))]


def _verdict(report: Report, comparison: Comparison) -> Verdict:
    """Returns the verdict of a comparison; in an invalid report every comparison is invalid."""
    return "invalid" if report.verdict == "invalid" else comparison.verdict


def _answer(report: Report, place: int) -> str:
    comparison, name = report.comparisons[place], leg_names(report)[place + 1]
    verdict = _verdict(report, comparison)
    baseline, precision = report.baseline.precision.upper(), comparison.candidate.precision
    candidate = name.replace(precision, precision.upper())
    device = report.environment.device if report.environment else "this device"
    emulated = f"{device} has no {precision.upper()} arithmetic and emulates it: " if _is_emulated(comparison) else ""
    invalid = "Invalid comparison: " if verdict == "invalid" else ""
    outcome = _outcome(report, comparison, baseline, device)
    answer = f"{invalid}{emulated}{candidate} {outcome}: {verdict_words(verdict)}."
    return f"{answer} {_advice(report, comparison)}".rstrip()


def _is_emulated(comparison: Comparison) -> bool:
    return comparison.candidate.kernels == "emulated"


def _advice(report: Report, comparison: Comparison) -> str:
    """Recommends a native precision where the device emulates the candidate."""
    if not _is_emulated(comparison):
        return ""
    native = "FP32" if report.baseline.kernels == "emulated" else report.baseline.precision.upper()
    candidate = comparison.candidate.precision.upper()
    return f"Train in {native} on this device, or in {candidate} on a device with native support."


def _outcome(report: Report, comparison: Comparison, baseline: str, device: str) -> str:
    """States speed, memory and accuracy of the candidate relative to the baseline, as far as they were measured."""
    if comparison.speedup is not None:
        speed = f"is {_speed_of(comparison, comparison.speedup, baseline)} on {device}"
    elif comparison.speedup_of_one_block is not None:
        ratio = _speed_without_interval(comparison.speedup_of_one_block)
        speed = f"was {ratio} {baseline} on {device} in the only block that measured both"
    else:
        return f"could not be compared with {baseline} on {device}{_failed(report, comparison)}"
    further = [_memory(comparison.memory_reduction_percent)] if comparison.memory_reduction_percent else []
    further += _quality(report, comparison)
    cause = _cause(report, comparison)
    return f"{speed}, {cause}{f'; it {_listed(further)}' if further else ''}" if cause else _listed([speed, *further])


def _cause(report: Report, comparison: Comparison) -> str:
    """Returns the cause of the speedup in half a sentence; empty if it is unknown or the comparison is invalid."""
    is_valid = _verdict(report, comparison) != "invalid"
    return comparison.explanation.cause if comparison.explanation and is_valid else ""


def _listed(clauses: Sequence[str]) -> str:
    listed = ", ".join(clauses[:-1])
    return f"{listed}{',' if len(clauses) > 2 else ''} and {clauses[-1]}" if listed else clauses[0]


def _speed_of(comparison: Comparison, speedup: Estimate, baseline: str) -> str:
    if not comparison.indistinguishable_from_noise:
        return f"{_speed(speedup)} {baseline}"
    if speedup.ci_low <= 1 <= speedup.ci_high:
        return f"indistinguishable in speed from {baseline} ({_times(speedup)})"
    return f"{_speed(speedup)} {baseline}, within the noise floor of identical work,"


def _speed_without_interval(ratio: float) -> str:
    return f"{ratio:.2f}× faster than" if ratio >= 1 else f"{1 / ratio:.2f}× slower than"


def _failed(report: Report, comparison: Comparison) -> str:
    """Names the leg that failed, with its failure, in parentheses; empty if neither did."""
    for leg in (report.baseline, comparison.candidate):
        if leg.failure is not None:
            return f" ({leg.precision.upper()}: {leg.failure.title[:1].lower()}{leg.failure.title[1:]})"
    return ""


def titled_comparisons(report: Report) -> list[tuple[str, Comparison]]:
    """Returns every comparison with its title: `bf16 against fp32`."""
    baseline, *candidates = leg_names(report)
    return [
        (f"{name} against {baseline}", comparison)
        for name, comparison in zip(candidates, report.comparisons, strict=True)
    ]


def requirement_rows(comparison: Comparison, data: DataFacts | None) -> list[tuple[str, str, str, str]]:
    """Returns title, measured value with interval, threshold and status of each requirement.

    In an invalid comparison the status is `invalid`. Figures without a requirement come last, without threshold and
    status. A requirement that is off is left out where the task lacks its metric.
    """
    judged = {requirement_kind(one.name, one.metric).figure for one in comparison.requirements}
    others = [figure for name, figure in comparison_figures(data).items() if name not in judged]
    return [
        *(_requirement_row(one, comparison, data) for one in comparison.requirements if _is_of_task(one, data)),
        *(
            (f"{figure.title}", _text(figure, value), NOTHING, "")
            for figure in others
            if figure.title and (value := figure.read(comparison)) is not None
        ),
    ]


def _is_of_task(requirement: Requirement, data: DataFacts | None) -> bool:
    metric = requirement_kind(requirement.name, requirement.metric).metric
    measured = {one.name for one in metrics_of(data)}
    return requirement.threshold is not None or metric is None or metric in measured


def _requirement_row(
    requirement: Requirement, comparison: Comparison, data: DataFacts | None
) -> tuple[str, str, str, str]:
    kind = requirement_kind(requirement.name, requirement.metric)
    figure = judged_figure(kind, data)
    invalid = comparison.verdict == "invalid" and requirement.status != "off"
    return (
        f"{figure.title}",
        "not measured" if requirement.measured is None else _text(figure, requirement.measured),
        "off" if requirement.threshold is None else f"{kind.sign} {requirement.threshold:g}",
        "invalid" if invalid else requirement.status,
    )


def leg_rows(report: Report) -> list[tuple[str, ...]]:
    """Returns one row per figure: its name with the unit, then the value of the baseline and of every candidate."""
    legs = legs_of(report)
    rows = [
        (figure.heading, *(_after_steps(figure, legs) if figure.metric else _cells(figure, legs)))
        for figure in leg_figures(report.data).values()
        if figure.title
    ]
    return [row for row in rows if set(row[1:]) != {NOTHING}]


def _cells(figure: Figure[Owner], owners: Sequence[Owner]) -> list[str]:
    """Formats a figure of every owner, without the unit, which the heading has."""
    if figure.words is not None:
        return [figure.words(owner) or NOTHING for owner in owners]
    return [_text(figure, figure.read(owner), with_unit=False) for owner in owners]


def _after_steps(figure: Figure[Leg], legs: Sequence[Leg]) -> list[str]:
    """Formats a figure of every leg, with the number of steps where the legs trained for different numbers."""
    steps = [len(leg.loss_curve) for leg in legs]
    differ = len({count for count in steps if count}) > 1
    return [
        f"{text} after {count} steps" if differ and text != NOTHING else text
        for text, count in zip(_cells(figure, legs), steps, strict=True)
    ]


def memory_rows(report: Report) -> list[tuple[str, ...]]:
    """Returns one row per part of the peak memory, in MiB."""
    parts = [leg.memory_breakdown.model_dump() if leg.memory_breakdown else {} for leg in legs_of(report)]
    return [
        (name.capitalize(), *(_mebibytes(part.get(name)) for part in parts)) for name in MemoryBreakdown.model_fields
    ]


def trial_columns(report: Report) -> list[str]:
    """Returns the column headings of `trial_rows`."""
    return ["Block", "Leg", *(figure.heading for figure in trial_figures(report.data).values()), "Disturbed by"]


def trial_rows(report: Report) -> list[tuple[str, ...]]:
    """Returns one row per trial in the order of execution, the survey included, with the columns of `trial_columns`."""
    figures = trial_figures(report.data)
    surveys = [("survey", leg.name, leg.leg.survey) for leg in named_legs(report) if leg.leg.survey]
    in_blocks = [(str(trial.block + 1), leg.name, trial) for leg in named_legs(report) for trial in leg.leg.trials]
    return [
        (
            block,
            name,
            *(cell for figure in figures.values() for cell in _cells(figure, [trial])),
            _disturbed_by(trial),
        )
        for block, name, trial in sorted([*surveys, *in_blocks], key=lambda placed: placed[2].training_started_at)
    ]


def _disturbed_by(trial: TrialResult) -> str:
    """Why the trial, or else how many of its slices, was disturbed."""
    slices = sum(bool(one.disturbances) for one in trial.slices)
    of_slices = f"{slices} of {len(trial.slices)} slices" if slices else NOTHING
    return "; ".join(trial.disturbances) or of_slices


def legs_of(report: Report) -> list[Leg]:
    """Returns the baseline, then every candidate."""
    return [report.baseline, *(comparison.candidate for comparison in report.comparisons)]


def leg_names(report: Report) -> list[str]:
    """Returns the distinct names of the baseline and of every candidate."""
    return [leg.name for leg in named_legs(report)][: 1 + len(report.comparisons)]


def interval(measured: Estimate, digits: int) -> str:
    """Formats a value with its 95 % interval."""
    return f"{measured.value:.{digits}f} ({measured.ci_low:.{digits}f} to {measured.ci_high:.{digits}f})"


def context_lines(report: Report) -> list[str]:
    """Returns the measurement conditions.

    They are: model, settings, blocks and how their legs were paired, noise floor, optimum, attestation, environment,
    disturbances and run time.
    """
    lines = [model_line(report.model), training_line(report.training)]
    lines += adapters_lines(report.adapters, report.baseline.measured_alone())
    lines += _compilation_lines(report)
    reused = f", {report.reused_blocks} of them reused from an earlier attempt" if report.reused_blocks else ""
    lines.append(f"{report.blocks} blocks{reused}, stopped by {report.stopped_by}.")
    lines += pairing_lines(report)
    if report.noise_floor:
        floor = report.noise_floor.ratio
        lines.append(
            f"Noise floor: identical work on this machine differs by {floor.ci_low:.3f}× to {floor.ci_high:.3f}×."
        )
        if report.noise_floor.control_ratio:
            lines.append(f"Speedup of the control leg: {interval(report.noise_floor.control_ratio, 3)} ×.")
    lines += _best_possible(report)
    checks = report.attestation.checks
    passed = sum(check.ok for check in checks)
    lines.append(f"Attestation: {passed} of {len(checks)} checks passed.")
    if report.environment:
        facts = report.environment
        lines.append(f"{facts.device}, {facts.threads} threads, torch {facts.torch}, driver {facts.driver or 'none'}.")
    lines += _disturbance_lines(report)
    if report.samples_dropped:
        lines.append("Retention has deleted the raw samples of every step; the figures were computed from them.")
    return [*lines, _run_time_line(report)]


def _run_time_line(report: Report) -> str:
    explanation = ", and for the explanation" if any(leg.time_by_kind for leg in legs_of(report)) else ""
    return (
        f"Total time {report.total_seconds:.1f} s, of which {report.overhead_seconds:.1f} s outside measured steps, "
        f"of which {report.proof_seconds:.1f} s for checks of precision, memory and numerics{explanation}."
    )


def _best_possible(report: Report) -> list[str]:
    """Names the metrics whose best possible value is known."""
    data = report.data
    if data is None:
        return []
    known = {"loss": data.best_possible_loss, "accuracy": data.best_possible_accuracy}
    best = [(metric, known.get(metric.name, metric.best_possible)) for metric in metrics_of(data)]
    listed = [
        f"{metric.short_title} {metric_text(metric, value)} {metric.unit}".rstrip()
        for metric, value in best
        if value is not None
    ]
    return [f"Best possible result on this data: {', '.join(listed)}."] if listed else []


def _compilation_lines(report: Report) -> list[str]:
    """Describes the compilation of every leg's first trial; the other trials compile the same."""
    first = [(leg.precision, leg.measured_alone()[0].compilation) for leg in legs_of(report) if leg.trials]
    legs = [
        f"{precision} {compilation.compile_seconds:.1f} s "
        f"({compilation.graphs} graphs, {compilation.recompiles} recompiled)"
        for precision, compilation in first
        if compilation
    ]
    return [f"Compilation, outside the measured steps: {', '.join(legs)}."] if legs else []


def _disturbance_lines(report: Report) -> list[str]:
    legs = [*legs_of(report), *([report.control] if report.control else [])]
    repeated, disturbed = sum(leg.repeated_trials for leg in legs), sum(leg.disturbed_trials for leg in legs)
    trials = [trial for leg in legs for trial in leg.trials]
    short = sum(trial.telemetry.gpu is None and trial.telemetry.host.foreign_cores is None for trial in trials)
    lines = []
    if repeated or disturbed:
        lines.append(
            f"Other activity on the machine disturbed {disturbed} of {len(trials)} trials; "
            f"disturbed runs discarded and repeated: {repeated}."
        )
    elif not short:
        lines.append(f"No disturbance was detected in the {len(trials)} trials.")
    if short:
        lines.append(f"{short} of {len(trials)} trials were too short to detect the activity of other programs.")
    return lines


def _speed(speedup: Estimate) -> str:
    faster = speedup.value >= 1
    ratio = speedup if faster else Estimate(
        value=1 / speedup.value, ci_low=1 / speedup.ci_high, ci_high=1 / speedup.ci_low
    )  # fmt: skip
    word = "faster than" if faster else "slower than"
    return f"{ratio.value:.2f}× {word[:6]} ({ratio.ci_low:.2f}–{ratio.ci_high:.2f}) {word[7:]}"


def _times(speedup: Estimate) -> str:
    return f"{speedup.value:.2f}×, {speedup.ci_low:.2f}–{speedup.ci_high:.2f}"


def _memory(reduction: Estimate) -> str:
    if round(reduction.value) == 0:
        return "needs the same amount of memory"
    return f"needs {abs(reduction.value):.0f} % {'less' if reduction.value >= 0 else 'more'} memory"


def _quality(report: Report, comparison: Comparison) -> list[str]:
    """Compares the task's first score, such as an accuracy; its loss if every metric is an error."""
    metrics = metrics_of(report.data)
    metric = next((one for one in metrics if one.better == "higher"), metrics[0])
    difference = comparison.difference(metric.name)
    if difference is None:
        return []
    if not _shows_differences(report, comparison, metric.name):
        return [f"trains too little to compare {PLURALS.get(metric.short_title, metric.short_title)}"]
    if difference.ci_low <= 0 <= difference.ci_high:
        judged = {requirement_kind(one.name, one.metric).metric: one.status for one in comparison.requirements}
        is_open = judged.get(metric.name) == "inconclusive"
        same = f"to the same {metric.short_title}"
        return [f"leaves open whether it trains {same}" if is_open else f"trains {same} within noise"]
    size = metric_text(metric, difference.value)
    return [f"trains to {'a lower' if difference.signed_mean > 0 else 'a higher'} {metric.short_title} (by {size})"]


def _shows_differences(report: Report, comparison: Comparison, metric: str) -> bool:
    """Whether the baseline learned enough for its requirement on a metric, or for any difference, to mean something."""
    kinds = [(requirement_kind(one.name, one.metric), one.threshold) for one in comparison.requirements]
    kind, threshold = next((one for one in kinds if one[0].metric == metric), (metric_requirement(metric), None))
    return can_tell_apart(kind, threshold or 0.0, report.baseline)


def metric_text(metric: MetricFacts, value: float | None) -> str:
    """Formats a metric's value without its unit."""
    return NOTHING if value is None else _number(value, shown_as(metric))


def _text(figure: Figure[Owner], value: Value, with_unit: bool = True) -> str:
    """Formats a value; an estimate or a difference with its interval."""
    if value is None:
        return NOTHING
    if isinstance(value, Difference):
        text = _difference(value, figure.shown)
    elif isinstance(value, Estimate):
        text = f"{_number(value.value, figure.shown)} ({_range(value, figure.shown)})"
    else:
        text = _number(value, figure.shown)
    return f"{text} {figure.shown.unit}" if with_unit and figure.shown.unit else text


def _difference(measured: Difference, shown: Shown) -> str:
    """Formats the absolute difference, and the signed one (baseline - candidate) with its interval."""
    signed = Shown(f"+{shown.digits}", shown.unit, shown.factor)
    return (
        f"{_number(measured.value, shown)} (signed {_number(measured.signed_mean, signed)}, {_range(measured, signed)})"
    )


def _range(measured: Estimate | Difference, shown: Shown) -> str:
    return f"{_number(measured.ci_low, shown)} to {_number(measured.ci_high, shown)}"


def _number(value: float, shown: Shown) -> str:
    return f"{value * shown.factor:{shown.digits}}"


def _mebibytes(size_bytes: int | None) -> str:
    return NOTHING if size_bytes is None else f"{size_bytes / MIB:,.1f}"
