"""Display names of models."""

from halftime.contract.models import ModelSpec, PluginSpec, TransformersSpec


def name_of(model: ModelSpec) -> str:
    """Returns the preset, the library's architecture, or the plugin's name; else the kind."""
    match model:
        case TransformersSpec():
            return model.preset or model.model_type or model.kind
        case PluginSpec():
            return model.name
        case _:
            return model.kind
