"""A model provided by an installed package."""

from typing import Literal

from pydantic import Field

from halftime.contract.request.plugin import PluginArguments, PluginName
from halftime.contract.strict import Input


class PluginSpec(Input):
    """A model from a package installed on the worker: an entry point in the group `halftime.models`."""

    kind: Literal["plugin"] = "plugin"
    name: PluginName = Field(description="name of the entry point", examples=["gated-mlp"])
    arguments: PluginArguments = Field(default={}, description="keyword arguments for the entry point")

    def parameter_count(self) -> None:
        """Returns None: only the package knows it, and the worker counts the parameters."""

    def training_flops_per_sample(self) -> None:
        """Returns None: only the package knows it."""
