"""What people know a model by."""

from halftime.contract.models import ModelSpec, PluginSpec, TransformersSpec


def name_of(model: ModelSpec) -> str:
    """The preset, the library's architecture, or the plugin's name; of our own models the kind."""
    match model:
        case TransformersSpec():
            return model.preset or model.model_type or model.kind
        case PluginSpec():
            return model.name
        case _:
            return model.kind
