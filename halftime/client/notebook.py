"""A report with charts for notebooks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from typing_extensions import override

from halftime.contract.report.report import Report

if TYPE_CHECKING:
    from altair import LayerChart, VConcatChart


class ChartedReport(Report):
    """The contract's report with `charts`; equal to any report with the same content."""

    @property
    def charts(self) -> Charts:
        """The charts of the HTML report as interactive altair charts."""
        return Charts(self)

    @override
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Report) and self.model_dump() == other.model_dump()

    __hash__ = Report.__hash__


@dataclass(frozen=True)
class Charts:
    """One method per chart; a notebook shows the last value of a cell. Drag to pan, scroll to zoom, hover for values.

    Each raises LookupError if the report has no data for it, and ModuleNotFoundError without the extra `charts`.
    """

    report: Report

    def speedup(self) -> LayerChart | VConcatChart:
        """Draws the speedup by block, with its interval, the noise floor, and the threshold."""
        return self._drawn("speedup")

    def turns(self) -> LayerChart | VConcatChart:
        """Draws the step time of every slice of the first block over time, if the legs took turns."""
        return self._drawn("turns")

    def waterfall(self) -> LayerChart | VConcatChart:
        """Draws what each kind of work saved or cost, from the baseline's step to each candidate's."""
        return self._drawn("waterfall")

    def roofline(self) -> LayerChart | VConcatChart:
        """Draws how fast each kind of work runs, beside what the device's memory and arithmetic allow."""
        return self._drawn("roofline")

    def bandwidth(self) -> LayerChart | VConcatChart:
        """Draws how fast each kind of work that multiplies nothing moves bytes, beside what memory allows."""
        return self._drawn("bandwidth")

    def step_times(self) -> LayerChart | VConcatChart:
        """Draws a histogram of the step times of every leg."""
        return self._drawn("step_times")

    def loss(self) -> LayerChart | VConcatChart:
        """Draws the loss curves of the legs, and the lowest possible loss."""
        return self._drawn("loss")

    def memory(self) -> LayerChart | VConcatChart:
        """Draws the peak memory of every leg by purpose."""
        return self._drawn("memory")

    def loss_scale(self) -> LayerChart | VConcatChart:
        """Draws the loss scale of FP16 legs, and the skipped steps."""
        return self._drawn("loss_scale")

    def conditions(self) -> LayerChart | VConcatChart:
        """Draws clock, temperature and power of the GPU in every trial; on a CPU, the load of the machine."""
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
