"""Reads `.npz` and `.safetensors` safely: without running code, and within the size in the header."""

import math
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, BinaryIO

import numpy
import safetensors.torch
import torch
from numpy.lib import format as npy
from torch import Tensor

from worker.data.files import MAX_BYTES, invalid
from worker.device.device import require_host_memory
from worker.errors import TrialFailed
from worker.errors.out_of_memory import is_out_of_memory

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Most characters of an array's header in `.npy`: numpy's own limit.
MAX_HEADER_CHARACTERS = 10_000

NUMPY_FLOATS = (torch.float16, torch.float32, torch.float64)


@dataclass(frozen=True)
class FileArray:
    """An array of a file."""

    values: "NDArray[numpy.generic]"
    #: As the file has it: numpy does not support bfloat16 or narrower floats, whose values are FP32.
    dtype: str


def read_arrays(file: BinaryIO, name: str, wanted: Iterable[str], max_bytes: int = MAX_BYTES) -> dict[str, FileArray]:
    """Reads those of the wanted arrays that are in the file. Raises TrialFailed (`invalid_data`)."""
    try:
        if name.endswith(".npz"):
            return _read_npz(file, name, wanted, max_bytes)
        return _read_safetensors(file, wanted)
    except TrialFailed:
        raise
    except Exception as error:  # a malformed or malicious file may make readers raise anything
        if is_out_of_memory(error):
            raise
        raise invalid(name, f"cannot be parsed: {type(error).__name__}: {str(error)[:300]}") from error


def _read_npz(file: BinaryIO, name: str, wanted: Iterable[str], max_bytes: int) -> dict[str, FileArray]:
    with zipfile.ZipFile(file) as archive:
        entries = archive.namelist()
        if len(set(entries)) < len(entries):
            raise invalid(name, "has duplicate entries")
        present = [one for one in wanted if f"{one}.npy" in entries]
        # zipfile reads no more of an entry than the directory states.
        sizes = [archive.getinfo(f"{one}.npy").file_size for one in present]
        if sum(sizes) > max_bytes:
            raise invalid(name, f"unpacks to {sum(sizes):,} bytes; the limit is {max_bytes:,}")
        require_host_memory(2 * sum(sizes))
        for one, size in zip(present, sizes, strict=True):
            with archive.open(f"{one}.npy") as entry:
                _check_header(entry, name, one, size)
        file.seek(0)
        with numpy.load(file, allow_pickle=False) as arrays:
            return {one: _of_numpy(arrays[one]) for one in present}


def _check_header(entry: IO[bytes], name: str, array: str, size: int) -> None:
    """Rejects headers that do not match the data's size, for which numpy would allocate memory, and Python objects."""
    version = npy.read_magic(entry)
    read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
    if read_header is None:
        raise invalid(name, f"has `{array}` in .npy version {version}; supported are 1.0 and 2.0")
    shape, _, dtype = read_header(entry, max_header_size=MAX_HEADER_CHARACTERS)
    if dtype.hasobject:
        raise invalid(name, f"has Python objects in `{array}`, which are not unpickled. Save it as numbers")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != size - entry.tell():
        raise invalid(name, f"has `{array}` with a header that does not match its size")


def _of_numpy(values: "NDArray[numpy.generic]") -> FileArray:
    """Names a dtype without its byte order; text and records have no short name."""
    return FileArray(values, values.dtype.name if values.dtype.kind in "biufc" else str(values.dtype))


def _read_safetensors(file: BinaryIO, wanted: Iterable[str]) -> dict[str, FileArray]:
    """Reads uncompressed tensors; the library checks that the header matches the file exactly."""
    tensors = safetensors.torch.load(file.read())
    return {name: _of_torch(tensors[name]) for name in wanted if name in tensors}


def _of_torch(tensor: Tensor) -> FileArray:
    narrow = tensor.is_floating_point() and tensor.dtype not in NUMPY_FLOATS
    return FileArray((tensor.float() if narrow else tensor).numpy(), str(tensor.dtype).removeprefix("torch."))
