"""Reads `.npz` and `.safetensors`: neither can run code here, nor grow beyond what its header says."""

import math
import zipfile
from collections.abc import Iterable
from typing import IO, TYPE_CHECKING, BinaryIO

import numpy
import safetensors.torch
import torch
from numpy.lib import format as npy

from worker.data.files import MOST_BYTES, invalid
from worker.device.device import require_host_memory
from worker.errors import TrialFailed, is_out_of_memory

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[numpy.generic]]

#: Characters of the description of an array in `.npy`; numpy's own bound.
MOST_HEADER_CHARACTERS = 10_000

NUMPY_FLOATS = (torch.float16, torch.float32, torch.float64)


def read_arrays(file: BinaryIO, name: str, wanted: Iterable[str], most_bytes: int = MOST_BYTES) -> "Arrays":
    """Those of the wanted arrays that a file holds. Raises TrialFailed (`invalid_data`)."""
    try:
        if name.endswith(".npz"):
            return _read_npz(file, name, wanted, most_bytes)
        return _read_safetensors(file, wanted)
    except TrialFailed:
        raise
    except Exception as error:  # a file made to do harm has its readers raise anything
        if is_out_of_memory(error):
            raise
        raise invalid(name, f"is no sound file of its kind: {type(error).__name__}: {str(error)[:300]}") from error


def _read_npz(file: BinaryIO, name: str, wanted: Iterable[str], most_bytes: int) -> "Arrays":
    with zipfile.ZipFile(file) as archive:
        entries = archive.namelist()
        if len(set(entries)) < len(entries):
            raise invalid(name, "has two entries of one name")
        held = [one for one in wanted if f"{one}.npy" in entries]
        # zipfile reads no more of an entry than the directory says.
        sizes = [archive.getinfo(f"{one}.npy").file_size for one in held]
        if sum(sizes) > most_bytes:
            raise invalid(name, f"unpacks to {sum(sizes):,} bytes; at most {most_bytes:,} are read")
        require_host_memory(2 * sum(sizes))
        for one, size in zip(held, sizes, strict=True):
            with archive.open(f"{one}.npy") as entry:
                _check_header(entry, name, one, size)
        file.seek(0)
        with numpy.load(file, allow_pickle=False) as arrays:
            return {one: arrays[one] for one in held}


def _check_header(entry: IO[bytes], name: str, array: str, size: int) -> None:
    """numpy makes room for what the header says before it reads: no more than there is, then, and no objects."""
    version = npy.read_magic(entry)
    read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
    if read_header is None:
        raise invalid(name, f"holds `{array}` in version {version} of .npy; 1.0 and 2.0 are read")
    shape, _, dtype = read_header(entry, max_header_size=MOST_HEADER_CHARACTERS)
    if dtype.hasobject:
        raise invalid(name, f"holds Python objects in `{array}`, which are never unpickled: save it as numbers")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != size - entry.tell():
        raise invalid(name, f"holds `{array}` with a header that does not fit its size")


def _read_safetensors(file: BinaryIO, wanted: Iterable[str]) -> "Arrays":
    """The library checks that the header fits the file, byte for byte; nothing in it is compressed."""
    tensors = safetensors.torch.load(file.read())
    held = {name: tensors[name] for name in wanted if name in tensors}
    # numpy knows no bfloat16, nor narrower floats.
    return {
        name: (tensor.float() if tensor.is_floating_point() and tensor.dtype not in NUMPY_FLOATS else tensor).numpy()
        for name, tensor in held.items()
    }
