"""Packs the trace of profiled steps for a trace viewer: our own selection of what torch exports, without the machine.

The format is the Trace Event Format of Chrome's trace viewer, which Perfetto opens.
"""

import gzip
import json
import math
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch.profiler import profile

from worker.messages import KeepTrace

#: Most bytes of a file that is read, and most events of a packed trace.
MAX_FILE_BYTES = 128 * 2**20
MAX_EVENTS = 200_000

#: Most bytes of a packed trace, before and after compression.
MAX_JSON_BYTES = 64 * 2**20
MAX_GZIP_BYTES = 4 * 2**20

#: Categories of the events that are kept: the host's, the GPU's, and arrows from one event to another. Python's stack
#: and marks of the profiler itself are not among them.
HOST = frozenset({"cpu_op", "user_annotation", "cuda_runtime", "cuda_driver", "overhead"})
GPU = frozenset({"kernel", "gpu_memcpy", "gpu_memset", "gpu_user_annotation"})
ARROWS = frozenset({"ac2g", "fwdbwd"})

#: Events with a duration; start, step and end of an arrow.
PHASES = frozenset({"X", "s", "t", "f"})

#: Fields of an event that are kept as they are.
FIELDS = ("ph", "cat", "ts", "dur", "id", "bp")

#: Arguments that are kept: where and how a kernel was launched, and what a copy moved.
ARGUMENTS = frozenset(
    {
        "device",
        "stream",
        "correlation",
        "grid",
        "block",
        "registers per thread",
        "shared memory",
        "blocks per SM",
        "warps per SM",
        "est. achieved occupancy %",
        "bytes",
        "memory bandwidth (GB/s)",
    }
)

#: A path, which an annotation in a model's own code may name; not the `0/0` of torch's own.
PATH = re.compile(r"(?:\B/|/(?=[\w.@~+-]+/))[\w./@~+-]+")

Event = Mapping[str, Any]


class TraceTooLarge(Exception):
    """The trace is larger than what is kept; the message has both figures."""


@dataclass(frozen=True)
class _Track:
    """A row of the viewer, in place of the machine's process and thread ids."""

    process: int
    process_name: str
    thread: int
    thread_name: str


def pack_trace(chrome_trace: Mapping[str, Any] | Path) -> bytes:
    """Packs what `torch.profiler.profile.export_chrome_trace` wrote, parsed or as a file: returns gzipped JSON.

    Raises TraceTooLarge, and ValueError for a file that is not JSON.
    """
    trace = _read(chrome_trace) if isinstance(chrome_trace, Path) else chrome_trace
    events = [event for event in trace["traceEvents"] if _is_kept(event)]
    if len(events) > MAX_EVENTS:
        raise TraceTooLarge(f"The trace has {len(events):,} events; at most {MAX_EVENTS:,} are kept.")
    tracks = _tracks(events)
    packed = [_packed(event, tracks[_place(event)]) for event in events if _place(event) in tracks]
    content = {"displayTimeUnit": "ms", "traceEvents": [*_names(tracks.values()), *packed]}
    text = json.dumps(content, separators=(",", ":")).encode()
    _require(len(text), MAX_JSON_BYTES, "uncompressed")
    compressed = gzip.compress(text, compresslevel=6, mtime=0)
    _require(len(compressed), MAX_GZIP_BYTES, "compressed")
    return compressed


def hand_over(recorded: profile, keep: KeepTrace | None) -> str | None:
    """Gives the packed trace of a profiler to `keep`; returns why not, None if it did."""
    if keep is None:
        return "Nobody keeps traces here."
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "trace.json"
            recorded.export_chrome_trace(str(path))
            packed = pack_trace(path)
    except TraceTooLarge as error:
        return str(error)
    except Exception as error:  # the profile is whole without its trace
        return f"{type(error).__name__}: {error}".split("\n", maxsplit=1)[0][:300]
    keep(packed)
    return None


def _read(path: Path) -> Mapping[str, Any]:
    _require(path.stat().st_size, MAX_FILE_BYTES, "as the profiler wrote it")
    content: Mapping[str, Any] = json.loads(path.read_bytes())
    return content


def _require(size_bytes: int, max_bytes: int, form: str) -> None:
    if size_bytes > max_bytes:
        raise TraceTooLarge(
            f"The trace has {size_bytes / 2**20:,.1f} MiB {form}; at most {max_bytes / 2**20:,.0f} MiB are kept."
        )


def _is_kept(event: Event) -> bool:
    return event.get("ph") in PHASES and event.get("cat") in HOST | GPU | ARROWS


def _place(event: Event) -> tuple[object, object]:
    return event["pid"], event["tid"]


def _tracks(events: Sequence[Event]) -> dict[tuple[object, object], _Track]:
    """Returns the track of every process and thread with an event of the host or the GPU, in order of appearance."""
    tracks: dict[tuple[object, object], _Track] = {}
    host_threads = 0
    for event in events:
        if _place(event) in tracks or event["cat"] in ARROWS:
            continue
        if event["cat"] in GPU:
            device, stream = int(event["pid"]), int(event["tid"])
            tracks[_place(event)] = _Track(device + 1, f"GPU {device}", stream, f"GPU stream {stream}")
        else:
            host_threads += 1
            tracks[_place(event)] = _Track(0, "host", host_threads, f"host thread {host_threads}")
    return tracks


def _names(tracks: Iterable[_Track]) -> Iterator[dict[str, Any]]:
    """Yields the events that name the tracks."""
    for track in tracks:
        at = {"ph": "M", "pid": track.process, "tid": track.thread}
        yield {"name": "process_name", **at, "args": {"name": track.process_name}}
        yield {"name": "thread_name", **at, "args": {"name": track.thread_name}}


def _packed(event: Event, track: _Track) -> dict[str, Any]:
    packed = {name: event[name] for name in FIELDS if name in event}
    packed |= {"name": PATH.sub("…", event["name"]), "pid": track.process, "tid": track.thread}
    arguments = {name: value for name, value in event.get("args", {}).items() if name in ARGUMENTS and _is_plain(value)}
    return packed | ({"args": arguments} if arguments else {})


def _is_plain(value: object) -> bool:
    """Whether JSON has the value as it is: it knows no infinity."""
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return isinstance(value, str) or (isinstance(value, int | float) and math.isfinite(value))
