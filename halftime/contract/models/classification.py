"""Which models are known to be trained by cross-entropy, from their specification alone."""

from halftime.contract.models import ModelSpec

#: Kinds whose task is a classification unless a field `task` says otherwise.
KINDS = frozenset({"mlp", "convnet", "transformer", "transformers", "layers"})

#: Values of such a field: every sample or every token is classified.
TASKS = frozenset(
    {
        "classification",
        "language-modelling",
        "causal-lm",
        "masked-lm",
        "sequence-classification",
        "image-classification",
        "seq2seq",
    }
)


def is_classification(model: ModelSpec) -> bool:
    """Whether the model's metrics are the loss and the accuracy alone. False: only the worker knows them."""
    task = getattr(model, "trained_task", getattr(model, "task", "classification"))
    return model.kind in KINDS and task in TASKS
