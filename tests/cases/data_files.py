"""The data files that some of the requests name."""

import numpy

VOCABULARY, LENGTH, SAMPLES = 64, 16, 400

#: Value of a target that counts in no loss.
IGNORED = -100


def write_data_files(folder):
    """Write `uneven.npz` and `floatlab.npz` into a folder."""
    random = numpy.random.default_rng(1)
    inputs, targets = _uneven(random)
    numpy.savez(folder / "uneven.npz", inputs=inputs, targets=targets)
    labels = random.integers(4, size=100).astype(numpy.float64)
    numpy.savez(folder / "floatlab.npz", inputs=random.normal(size=(100, 16)).astype(numpy.float32), targets=labels)


def _uneven(random):
    """Sequences of which every other one has a single target, that a rule gives, and the others random ones in full."""
    inputs = random.integers(VOCABULARY, size=(SAMPLES, LENGTH))
    targets = random.integers(VOCABULARY, size=(SAMPLES, LENGTH))
    targets[::2] = IGNORED
    targets[::2, 0] = (3 * inputs[::2, 0] + 1) % VOCABULARY
    return inputs, targets
