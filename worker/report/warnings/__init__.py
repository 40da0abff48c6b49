"""Warnings of a report: conditions that limit how far its figures can be trusted, each with a remedy.

A module for each subject; this one puts them in order.
"""

from worker.comparison.comparison_run import ComparisonRun
from worker.report.warnings.blocks import about_the_blocks
from worker.report.warnings.device import about_emulation, about_the_device
from worker.report.warnings.precision import about_the_precisions
from worker.report.warnings.settings import about_the_quality, about_the_settings
from worker.report.warnings.time_budget import about_the_time
from worker.report.warnings.trials import about_the_trials
from worker.report.warnings.turns import about_turns


def warnings_of(measured: ComparisonRun) -> list[str]:
    """Returns every warning that applies."""
    return [
        *about_the_device(measured),
        *about_emulation(measured),
        *about_the_time(measured),
        *about_turns(measured),
        *about_the_precisions(measured),
        *about_the_settings(measured),
        *about_the_quality(measured),
        *(warning for leg in measured.legs if leg.trials for warning in about_the_trials(leg, measured)),
        *about_the_blocks(measured),
    ]
