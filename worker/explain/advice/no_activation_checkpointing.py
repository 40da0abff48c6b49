"""Activations kept instead of recomputed, where memory has room for them."""

from halftime.contract.models import ConvnetSpec, DitSpec, MlpSpec, ModelSpec, TransformerSpec, TransformersSpec
from halftime.contract.report.explanation import Advice, WorkKind
from worker.explain.advice.facts import Facts
from worker.explain.advice.requests import changed
from worker.explain.advice.words import percent, size

#: Kinds that are in no forward pass.
AFTER_BACKWARD: frozenset[WorkKind] = frozenset({"optimizer", "gradient_scaling_and_clipping", "data"})

#: Share of products that the repeated forward pass has: a forward pass has one for two of the backward pass.
REPEATED_PRODUCTS = 1 / 4
#: The same of work whose backward pass is as large as its forward pass: the most of any kind.
MOST_REPEATED = 1 / 3

#: Names that architectures give to the number of their blocks.
DEPTH_NAMES = ("num_hidden_layers", "n_layer", "num_layers", "encoder_layers")


def no_activation_checkpointing(facts: Facts) -> Advice | None:
    """Advises against checkpointing if the activations of all blocks fit.

    The forward pass is run twice beside one backward pass, which has twice the products: of their time, 1 / (1 + 1 + 2)
    goes. Expected: the same share of all work of both passes. At least: of matrix products and attention alone. At most
    1 / (1 + 1 + 1) of all work, whose backward pass is no smaller than its forward pass. With n blocks, whose
    activations are at most all that were held at the peak, the model needs at most n times those.
    """
    depth, memory = depth_of(facts.request.model), facts.trial.memory
    if not facts.training.activation_checkpointing or depth is None or memory is None or memory.breakdown is None:
        return None
    more_bytes = (depth - 1) * memory.breakdown.activations
    if not facts.has_room_for(more_bytes):
        return None
    split = facts.split
    both_passes = split.seconds(*(kind for kind in split.kinds if kind not in AFTER_BACKWARD))
    products = split.seconds("matrix_products", "attention")
    gain = split.gains(REPEATED_PRODUCTS * products, MOST_REPEATED * both_passes, REPEATED_PRODUCTS * both_passes)
    return Advice(
        name="no_activation_checkpointing",
        text="Keep the activations instead of recomputing them (training.activation_checkpointing false).",
        evidence=(
            f"the forward pass is run twice; {percent(split.share_of(both_passes))} of a step are forward and backward "
            f"work, and the activations of all {depth} blocks take at most {size(more_bytes)} more."
        ),
        estimated_gain=gain,
        request=changed(facts.request, config__training__activation_checkpointing=False),
    )


def depth_of(model: ModelSpec) -> int | None:
    """Number of blocks that are checkpointed; None if the request does not tell."""
    match model:
        case TransformerSpec() | DitSpec() | MlpSpec():
            return model.num_layers
        case ConvnetSpec():
            return len(model.widths) * model.blocks_per_stage
        case TransformersSpec():
            depths = [model.settings[name] for name in DEPTH_NAMES if isinstance(model.settings.get(name), int)]
            return depths[0] if depths else None
        case _:
            return None
