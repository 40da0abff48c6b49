"""Random lists of layers for property tests."""

from hypothesis import strategies as st
from pydantic import TypeAdapter

from halftime.contract.models.layers.layer import DoesNotFit, Shape, shape_after
from halftime.contract.models.layers.structure import AnyLayer

LAYERS = TypeAdapter(list[AnyLayer])

SIZES = st.integers(1, 6)

POSITION_WISE = st.one_of(
    st.sampled_from(["relu", "gelu", "silu", "tanh", "sigmoid", "softmax", "layer_norm", "rms_norm", "dropout"]).map(
        lambda kind: {"type": kind}
    ),
    st.builds(lambda size, bias: {"type": "linear", "out_features": size, "bias": bias}, SIZES, st.booleans()),
)
CAUSAL = st.one_of(
    POSITION_WISE,
    st.just({"type": "positional_embedding"}),
    st.builds(lambda heads: {"type": "self_attention", "num_heads": heads, "causal": True}, st.integers(1, 3)),
    st.builds(
        lambda kind, size, layers: {"type": kind, "hidden_size": size, "num_layers": layers},
        st.sampled_from(["lstm", "gru"]),
        SIZES,
        st.integers(1, 2),
    ),
)
ANY_PLAIN = st.one_of(
    CAUSAL,
    st.sampled_from(["mean", "transpose", "flatten", "batch_norm", "adaptive_avg_pool2d"]).map(
        lambda kind: {"type": kind}
    ),
    st.builds(lambda groups: {"type": "group_norm", "num_groups": groups}, st.integers(1, 3)),
    st.builds(lambda size: {"type": "flatten", "start_dim": size}, st.integers(1, 3)),
    st.builds(lambda size: {"type": "adaptive_avg_pool2d", "output_size": size}, st.integers(1, 3)),
    st.builds(lambda size: {"type": "embedding", "embedding_dim": size}, SIZES),
    st.builds(lambda size: {"type": "gru", "hidden_size": size, "bidirectional": True}, SIZES),
    st.builds(
        lambda kind, size, stride, padding: {
            "type": kind,
            "kernel_size": size,
            "stride": stride,
            "padding": min(padding, size // 2),
        },
        st.sampled_from(["max_pool2d", "avg_pool2d"]),
        st.integers(1, 3),
        st.integers(1, 2) | st.none(),
        st.integers(0, 1),
    ),
    st.builds(
        lambda kind, size, kernel, stride, padding, dilation, groups: {
            "type": kind,
            "out_channels": size * groups,
            "kernel_size": kernel,
            "stride": stride,
            "padding": padding,
            "dilation": dilation,
            "groups": groups,
        },
        st.sampled_from(["conv1d", "conv2d"]),
        SIZES,
        st.integers(1, 3),
        st.integers(1, 2),
        st.integers(0, 2),
        st.integers(1, 2),
        st.integers(1, 2),
    ),
)


def with_blocks(plain):
    """Lists of layers, some of them blocks."""

    def block(inner):
        chains = st.lists(inner, min_size=1, max_size=3)
        return st.one_of(
            chains.map(lambda layers: {"type": "residual", "layers": layers}),
            st.builds(
                lambda branches, merge: {"type": "parallel", "branches": branches, "merge": merge},
                st.lists(st.just([]) | chains, min_size=2, max_size=3),
                st.sampled_from(["add", "concat"]),
            ),
        )

    return st.lists(st.recursive(plain, block, max_leaves=5), min_size=1, max_size=6)


INPUTS = st.one_of(
    st.builds(lambda size: {"input_shape": [size]}, SIZES),
    st.builds(lambda *sizes: {"input_shape": list(sizes)}, SIZES, st.integers(1, 9), st.integers(2, 9)),
    st.builds(
        lambda length, vocab, task: {"input_shape": [length], "vocab_size": vocab, "task": task},
        st.integers(1, 5),
        st.integers(2, 7),
        st.sampled_from(["classification", "causal-lm"]),
    ),
)

#: Inputs of a causal language model with at least two positions.
CAUSAL_INPUTS = st.builds(
    lambda length, vocab: {"input_shape": [length], "vocab_size": vocab, "task": "causal-lm"},
    st.integers(2, 5),
    st.integers(2, 7),
)

#: Requests whose layers may not fit together.
ANY_MODEL = st.builds(
    lambda fields, layers: {"kind": "layers", "layers": layers} | fields, INPUTS, with_blocks(ANY_PLAIN)
)


@st.composite
def fitting_models(draw, inputs=INPUTS):
    """Requests whose layers fit together: drawn layers that do not fit are left out, and a fitting head is added."""
    fields = {"kind": "layers"} | draw(inputs)
    causal = fields.get("task") == "causal-lm"
    tokens = "vocab_size" in fields
    layers = [{"type": "embedding", "embedding_dim": draw(SIZES)}] if tokens else []
    for layer in draw(with_blocks(CAUSAL if causal else ANY_PLAIN)):
        if _fits(fields, [*layers, layer]):
            layers.append(layer)
    if not causal:
        layers.append({"type": "flatten"})
    head = {"type": "linear", "out_features": fields["vocab_size"] if causal else 3}
    return fields | ({} if causal else {"num_classes": 3}) | {"layers": [*layers, head]}


def input_of(model):
    """Shape of the first layer's input."""
    return Shape(tuple(model["input_shape"]), model.get("vocab_size"), model.get("task") == "causal-lm")


def parsed(layers):
    """Layers parsed into their classes."""
    return LAYERS.validate_python(layers)


def _fits(model, layers):
    """Whether layers fit together in this order, whatever their output."""
    try:
        shape_after(parsed(layers), input_of(model))
    except DoesNotFit:
        return False
    return True
