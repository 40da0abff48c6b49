"""A larger batch, where part of a step takes the same time whatever the batch."""

from halftime.contract.report.explanation import Advice, WorkKind
from halftime.contract.report.trial import Memory
from worker.explain.advice.facts import Facts
from worker.explain.advice.requests import changed
from worker.explain.advice.words import milliseconds, percent, size

#: How many times the batch is to be.
FACTOR = 2

#: Kinds whose work is that of the weights, not of the samples.
OF_THE_WEIGHTS: tuple[WorkKind, ...] = ("optimizer", "gradient_scaling_and_clipping")

#: Kinds that may move little but weights, if memory bounds them.
MOVE_WEIGHTS: tuple[WorkKind, ...] = ("casts_and_copies", "matrix_products")


def larger_batch(facts: Facts) -> Advice | None:
    """Advises twice the batch if it fits.

    Of a step of T seconds, F do not grow with the batch. Twice the batch takes F + 2 (T - F), so its throughput is
    2 T / (2 T - F) times as high. F is at least the time of the optimizer and of gradient scaling. Expected: that and
    the host's, and of kinds bound by launches the time that launching takes at least. At most: all of the launch-bound
    kinds, and of casts and products bound by memory the share that are weights; and on a GPU, whose kernels run while
    the host works, its wait for the host vanishes wholly.
    """
    larger = FACTOR * facts.training.batch_size
    room = _room(facts, larger)
    if room is None:
        return None
    split, launches = facts.split, [one for one in facts.split.bound_by_launches() if one not in OF_THE_WEIGHTS]
    least, host = split.seconds(*OF_THE_WEIGHTS), split.seconds("host")
    launching = sum(split.seconds(one) * (split.share_of_ceiling(one) or 0.0) for one in launches)
    weights = sum(_seconds_of_weights(facts, one) for one in MOVE_WEIGHTS)
    fixed, most = least + host + launching, least + host + split.seconds(*launches) + weights
    hidden = host if facts.device.kind == "cuda" else 0.0
    rest = "Python, dispatch, and the start of small operations" if launching else "Python and dispatch"
    gain = split.gains(least / FACTOR, min((most + hidden) / FACTOR, split.step_seconds / FACTOR), fixed / FACTOR)
    return Advice(
        name="larger_batch",
        text=(
            f"Train with batches of {larger} instead of {facts.training.batch_size}: part of a step takes the same "
            "time whatever the batch. The learning rate may have to change with it."
        ),
        evidence=(
            f"{milliseconds(fixed)} of a step of {milliseconds(split.step_seconds)} ({percent(split.share_of(fixed))}) "
            f"do not grow with the batch: the optimizer, gradient scaling and clipping, {rest}; {room}."
        ),
        estimated_gain=gain,
        request=changed(facts.request, config__training__batch_size=larger),
    )


def _seconds_of_weights(facts: Facts, kind: WorkKind) -> float:
    """Most time that a kind bound by memory spends on weights."""
    one = facts.split.kinds.get(kind)
    if one is None or one.bound_by != "memory":
        return 0.0
    return one.seconds_per_step * (facts.share_of_weights(kind) or 0.0)


def _room(facts: Facts, larger: int) -> str | None:
    """Why a batch fits: by the search for the largest one if there was one, else by the account of memory.

    The search holds few batches on the device, not all those of training. None if it does not fit, or too little is
    known.
    """
    capacity, memory, device_bytes = facts.candidate.capacity, facts.trial.memory, facts.device.memory_bytes
    waiting_bytes = most_waiting_bytes(facts)
    if waiting_bytes is None:
        return None
    if capacity is not None and capacity.largest_batch_size is not None and larger <= capacity.largest_batch_size:
        fits = not waiting_bytes or facts.has_room_for((FACTOR - 1) * waiting_bytes)
        return f"the largest batch that fits is {capacity.largest_batch_size}" if fits else None
    if capacity is not None and capacity.smallest_too_large is not None and larger >= capacity.smallest_too_large:
        return None
    if memory is None or facts.occupied_bytes is None or device_bytes is None:
        return None
    more_bytes = (FACTOR - 1) * (_growing_bytes(memory) + waiting_bytes)
    if not facts.has_room_for(more_bytes):
        return None
    return f"the process needs at most about {size(facts.occupied_bytes + more_bytes)} of {size(device_bytes)}"


def most_waiting_bytes(facts: Facts) -> int | None:
    """Most memory of batches that wait on the device for their step: what the leg takes beyond a step's peak.

    0 with a loader, which keeps them elsewhere; None if it is unknown.
    """
    if facts.request.config.data.loader is not None:
        return 0
    if facts.trial.memory is None or facts.occupied_bytes is None:
        return None
    return max(0, facts.occupied_bytes - facts.trial.memory.peak_bytes)


def _growing_bytes(memory: Memory) -> int:
    """Memory of a step that grows with the batch: activations, temporary tensors and the batch; all if unaccounted."""
    parts = memory.breakdown
    return parts.activations + parts.temporary + parts.other if parts else memory.peak_bytes
