"""A benchmark that somebody watches: the resource, and the state after the events that were heard."""

import bisect

from app.reports.live.reducer import apply
from app.reports.live.state import LiveState, status_in_words
from halftime.contract.events import Event
from halftime.contract.precisions import leg_names
from halftime.contract.resources.benchmark import TERMINAL, Benchmark, Progress, Status


class LiveBenchmark:
    """What is known of a benchmark while it is watched. Events may come late, twice, or out of order."""

    def __init__(self, benchmark: Benchmark) -> None:
        self.benchmark = benchmark
        self._events: list[Event] = []
        self._warnings: list[str] = []
        self.state = LiveState.of(benchmark)

    @property
    def progress(self) -> Progress | None:
        """How far the benchmark is; None while it does not run."""
        return self.state.progress

    @property
    def last_seq(self) -> int:
        """The number of the newest event; 0 before the first."""
        return self._events[-1].seq if self._events else 0

    @property
    def status(self) -> Status:
        """The status of the resource once it has ended, else the status that the events tell."""
        return self.benchmark.status if self.benchmark.status in TERMINAL else self.state.status

    @property
    def warnings(self) -> list[str]:
        """The warnings of the benchmark, of its events, and of whoever watches."""
        return [*self.benchmark.warnings, *self.state.warnings, *self._warnings]

    def warn(self, warning: str) -> None:
        """Adds a warning of whoever watches."""
        self._warnings.append(warning)

    def see(self, benchmark: Benchmark) -> None:
        """Takes over what the resource says."""
        self.benchmark, self.state.progress = benchmark, benchmark.progress
        self.state.status, self.state.said = benchmark.status, status_in_words(benchmark)

    def hear(self, heard: Event | Progress) -> None:
        """Takes over what the stream says."""
        if isinstance(heard, Progress):
            apply(self.state, heard)
        elif heard.seq > self.last_seq:
            self._events.append(heard)
            apply(self.state, heard)
        elif heard.seq not in {event.seq for event in self._events}:
            bisect.insort(self._events, heard, key=lambda event: event.seq)
            self.state = self._retold()

    def legs(self) -> list[str]:
        """The baseline, then every other leg that the request names or that was heard of."""
        config = self.benchmark.request.config
        candidates = config.candidates if config.device == "auto" else config.resolved_candidates(config.device)
        named = leg_names(config.baseline, candidates or [], config.measurement.control)
        running = [self.progress.leg] if self.progress else []
        return list(dict.fromkeys([*named, *self.state.legs, *self.state.speedups, *running]))

    def candidates(self) -> list[str]:
        """The legs that are compared with the baseline to answer something; a control's speedup is noise."""
        baseline = self.benchmark.request.config.baseline
        _, *others = leg_names(baseline, [], control=True)
        return [leg for leg in self.legs() if leg not in {baseline, *others}]

    def _retold(self) -> LiveState:
        """The state after all events in their order; they do not tell the progress."""
        state = LiveState.of(self.benchmark)
        for event in self._events:
            apply(state, event)
        state.progress = self.progress
        return state
