"""A report that draws itself in a notebook."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from halftime.contract.report.report import Report

if TYPE_CHECKING:
    from altair import LayerChart, VConcatChart


class ChartedReport(Report):
    """The contract's report with `charts`; equal to any report that says the same."""

    @property
    def charts(self) -> Charts:
        """What it looks like: the pictures of the HTML report, as interactive altair charts."""
        return Charts(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Report) and self.model_dump() == other.model_dump()

    __hash__ = Report.__hash__


@dataclass(frozen=True)
class Charts:
    """One method per chart; the last thing in a cell is shown. Drag to move, turn the wheel to zoom, point at marks.

    Each raises LookupError where the report has nothing to show in it, and ModuleNotFoundError without the extra
    `charts`.
    """

    report: Report

    def speedup(self) -> LayerChart | VConcatChart:
        """The speedup block by block, with its interval, the noise floor, and what is required."""
        return self._drawn("speedup")

    def step_times(self) -> LayerChart | VConcatChart:
        """A histogram of the step times of every leg."""
        return self._drawn("step_times")

    def loss(self) -> LayerChart | VConcatChart:
        """The loss curves of the legs, and the lowest loss there can be."""
        return self._drawn("loss")

    def memory(self) -> LayerChart | VConcatChart:
        """The peak memory of every leg by what it is for."""
        return self._drawn("memory")

    def loss_scale(self) -> LayerChart | VConcatChart:
        """The loss scale of FP16, and the steps it skipped."""
        return self._drawn("loss_scale")

    def conditions(self) -> LayerChart | VConcatChart:
        """Clock, temperature and power of the GPU in every trial; on a CPU, how busy the machine was."""
        return self._drawn("conditions")

    def _drawn(self, name: str) -> LayerChart | VConcatChart:
        try:
            from halftime.charts import CHARTS, interactive  # noqa: PLC0415 # 120 MB, loaded when a chart is drawn
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"Charts need the extra `charts` ({error.name} is not installed): pip install 'halftime[charts]'",
                name=error.name,
            ) from error

        kind = CHARTS[name]
        chart = kind.draw(self.report)
        if chart is None:
            raise LookupError(kind.absence)
        return interactive(chart)
