"""A watched benchmark: the resource, and its state after the events received."""

import bisect

from app.reports.live.reducer import apply
from app.reports.live.state import LiveState, status_text
from halftime.contract.events import Event
from halftime.contract.precisions import leg_names
from halftime.contract.resources.benchmark import TERMINAL, Benchmark, Progress, Status


class LiveBenchmark:
    """State of a watched benchmark. Events may arrive late, twice, or out of order."""

    def __init__(self, benchmark: Benchmark) -> None:
        self.benchmark = benchmark
        self._events: list[Event] = []
        self._warnings: list[str] = []
        self.state = LiveState.of(benchmark)

    @property
    def progress(self) -> Progress | None:
        """The progress of the benchmark; None while it does not run."""
        return self.state.progress

    @property
    def last_seq(self) -> int:
        """The number of the newest event; 0 before the first."""
        return self._events[-1].seq if self._events else 0

    @property
    def status(self) -> Status:
        """The status of the resource once it has ended, before that the status according to the events."""
        return self.benchmark.status if self.benchmark.status in TERMINAL else self.state.status

    @property
    def warnings(self) -> list[str]:
        """The warnings of the benchmark, of its events, and of the watcher."""
        return [*self.benchmark.warnings, *self.state.warnings, *self._warnings]

    def warn(self, warning: str) -> None:
        """Adds a warning of the watcher."""
        self._warnings.append(warning)

    def update_resource(self, benchmark: Benchmark) -> None:
        """Replaces the resource, and updates the state from it."""
        self.benchmark = benchmark
        self.state.advance(benchmark.progress)
        self.state.status, self.state.status_text = benchmark.status, status_text(benchmark)

    def receive(self, message: Event | Progress) -> None:
        """Updates the state with a message of the event stream."""
        if isinstance(message, Progress):
            apply(self.state, message)
        elif message.seq > self.last_seq:
            self._events.append(message)
            apply(self.state, message)
        elif message.seq not in {event.seq for event in self._events}:
            bisect.insort(self._events, message, key=lambda event: event.seq)
            self.state = self._replay()

    def legs(self) -> list[str]:
        """Returns the baseline, then every other leg of the request or of the events."""
        config = self.benchmark.request.config
        candidates = config.candidates if config.device == "auto" else config.resolved_candidates(config.device)
        named = leg_names(config.baseline, candidates or [], config.measurement.control)
        running = [self.progress.leg] if self.progress else []
        return list(dict.fromkeys([*named, *self.state.legs, *self.state.speedups, *running]))

    def candidates(self) -> list[str]:
        """Returns the legs that are compared with the baseline, without the control leg, which measures noise."""
        baseline = self.benchmark.request.config.baseline
        _, *others = leg_names(baseline, [], control=True)
        return [leg for leg in self.legs() if leg not in {baseline, *others}]

    def _replay(self) -> LiveState:
        """Applies all events in order to a new state and keeps the progress, which events do not contain."""
        state = LiveState.of(self.benchmark)
        for event in self._events:
            apply(state, event)
        state.progress, state.of_legs = self.progress, self.state.of_legs
        return state
