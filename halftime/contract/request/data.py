"""The data that legs are trained on."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from halftime.contract.request.plugin import PluginArguments, PluginName
from halftime.contract.strict import Input, Printable


def _inside(name: str) -> str:
    if any(part in {"", ".", ".."} for part in name.split("/")):
        raise PydanticCustomError(
            "not_a_file_name", "must be a path relative to HALFTIME_DATASETS_DIR without empty, `.` or `..` parts"
        )
    return name


#: A path relative to HALFTIME_DATASETS_DIR. The worker reads files from that directory only.
FileName = Annotated[Printable, Field(min_length=1, max_length=255), AfterValidator(_inside)]


class LoaderConfig(Input):
    """A `torch.utils.data.DataLoader`, for runs that load data during training as in production."""

    workers: int = Field(
        default=2, ge=0, le=64, description="processes that prepare batches; 0: the training process prepares them"
    )
    pin_memory: bool = Field(default=True, description="copy from page-locked memory; has an effect on CUDA only")


class _Data(Input):
    loader: LoaderConfig | None = Field(
        default=None, description="data loader; null: all batches are on the device before training begins"
    )


class SyntheticData(_Data):
    """Seeded synthetic data with a known optimum: Markov chains for text, teacher models and templates otherwise."""

    kind: Literal["synthetic"] = "synthetic"


class TextData(_Data):
    """Bytes of real text for byte-level language modelling; needs a causal model with a vocabulary of at least 256."""

    kind: Literal["text"] = "text"
    name: FileName | None = Field(
        default=None,
        description="file under HALFTIME_DATASETS_DIR; null: the source code of the worker's Python standard library",
    )


class ArraysData(_Data):
    """Arrays `inputs` and `targets` from a file. `validation_inputs` and `validation_targets` are optional.

    Without validation arrays, the last tenth of the data is used for validation. `.npz` files are read without
    unpickling; `.safetensors` files cannot contain code.
    """

    kind: Literal["arrays"] = "arrays"
    name: Annotated[FileName, Field(pattern=r"\.(npz|safetensors)$")] = Field(
        description=".npz or .safetensors file under HALFTIME_DATASETS_DIR", examples=["digits.npz"]
    )


class PluginData(_Data):
    """A data set from a package installed on the worker: an entry point in the group `halftime.data`."""

    kind: Literal["plugin"] = "plugin"
    name: PluginName = Field(description="name of the entry point", examples=["rings"])
    arguments: PluginArguments = Field(default={}, description="keyword arguments for the entry point")


DataConfig = Annotated[SyntheticData | TextData | ArraysData | PluginData, Field(discriminator="kind")]

#: Every supported kind, as `GET /models` lists them.
DATA_KINDS: dict[str, type[SyntheticData] | type[TextData] | type[ArraysData] | type[PluginData]] = {
    "synthetic": SyntheticData,
    "text": TextData,
    "arrays": ArraysData,
    "plugin": PluginData,
}
