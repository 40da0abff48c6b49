"""What legs are trained on."""

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


#: A file under the directory that HALFTIME_DATASETS_DIR names. The worker looks for it there and nowhere else.
FileName = Annotated[Printable, Field(min_length=1, max_length=255), AfterValidator(_inside)]


class LoaderConfig(Input):
    """A real `torch.utils.data.DataLoader`, for a run that is to wait for its data as production does."""

    workers: int = Field(default=2, ge=0, le=64, description="processes that make batches; 0: the training loop does")
    pin_memory: bool = Field(default=True, description="copy from page-locked memory; of use on CUDA only")


class _Data(Input):
    loader: LoaderConfig | None = Field(
        default=None, description="null: batches lie on the device before training begins"
    )


class SyntheticData(_Data):
    """Seeded data with a known optimum: Markov chains for language, teachers and templates for the rest."""

    kind: Literal["synthetic"] = "synthetic"


class TextData(_Data):
    """The bytes of real text, for byte-level language modelling: needs a causal model of 256 tokens or more."""

    kind: Literal["text"] = "text"
    name: FileName | None = Field(
        default=None,
        description="a file under HALFTIME_DATASETS_DIR; null: the sources of the worker's Python standard library",
    )


class ArraysData(_Data):
    """Arrays `inputs` and `targets` from a file; `validation_inputs` and `validation_targets`, or the last tenth.

    `.npz` is read without unpickling anything; `.safetensors` cannot hold code.
    """

    kind: Literal["arrays"] = "arrays"
    name: Annotated[FileName, Field(pattern=r"\.(npz|safetensors)$")] = Field(
        description="a .npz or .safetensors file under HALFTIME_DATASETS_DIR", examples=["digits.npz"]
    )


class PluginData(_Data):
    """A data set from a package installed on the worker: an entry point in the group `halftime.data`."""

    kind: Literal["plugin"] = "plugin"
    name: PluginName = Field(description="of the entry point", examples=["rings"])
    arguments: PluginArguments = Field(default={}, description="keyword arguments of the entry point")


DataConfig = Annotated[SyntheticData | TextData | ArraysData | PluginData, Field(discriminator="kind")]

#: Every kind on offer, as `GET /models` lists them.
DATA_KINDS: dict[str, type[SyntheticData] | type[TextData] | type[ArraysData] | type[PluginData]] = {
    "synthetic": SyntheticData,
    "text": TextData,
    "arrays": ArraysData,
    "plugin": PluginData,
}
