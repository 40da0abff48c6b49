"""Assigns operators to kinds of work, by their names in torch's schema.

What torch itself says about an operator (pointwise, reduction, view) decides unless a table here knows better.
"""

import functools
import re
from collections.abc import Callable

import torch
from torch._C import DispatchKey
from torch._ops import OpOverload

from halftime.contract.report.explanation import WorkKind

#: What may stand around the base name of an operator: implementation, library, pass and output variant.
_DECORATION = re.compile(
    r"^(native|cudnn|mkldnn|miopen|mps|thnn|slow|fused|foreach|unsafe|nested|safe|new)_"
    r"|_(backward|forward|backward_data|overrideable|for_cpu|out|nd|copy|impl_index|with_update)$"
)

_ATTENTION = re.compile(r"^(scaled_dot_product|flash_attention|efficient_attention|flex_attention|sdp_choice)")
_NORMALISATION = re.compile(r"^(batch|layer|group|instance|rms|weight|local_response)_norm")
_SOFTMAX_AND_LOSS = re.compile(r"(^|_)(log_)?softmax|(^|_)loss\w*$|^(logsumexp|kl_div|binary_cross_entropy)")
_CONVOLUTION = re.compile(r"^conv(olution|_depthwise|_transpose)?(\d?d)?($|_)")
_SCALING = re.compile(r"^amp_")
_OPTIMIZER = re.compile(r"^(adamw?|sgd|adagrad|adafactor|lamb|lion)_?$")
_POOLING = re.compile(r"(^|_)(max|avg|lp|fractional_max)_pool\dd")
_PADDING = re.compile(r"_pad(\dd|_nd)?$")
_RESAMPLING = re.compile(r"^(upsample|interpolate|grid_sampler)")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_NAMES: dict[WorkKind, frozenset[str]] = {
    "matrix_products": _words(
        "mm addmm bmm baddbmm addbmm mv addmv dot vdot int_mm scaled_mm grouped_mm scaled_grouped_mm linear "
        "matmul einsum bilinear trilinear rnn rnn_layer lstm gru cdist euclidean_dist addmm_activation"
    ),
    "normalisation": _words("batch_norm_stats batch_norm_elemt batch_norm_reduce batch_norm_gather_stats"),
    "embedding_and_indexing": _words(
        "embedding embedding_dense embedding_bag embedding_renorm index index_select index_put index_put_impl "
        "index_add index_copy index_fill gather scatter scatter_add scatter_reduce take put masked_select "
        "masked_scatter nonzero sort topk argsort unique unique2 unique_consecutive searchsorted bucketize "
        "one_hot take_along_dim repeat_interleave bincount histc multinomial kthvalue isin"
    ),
    "casts_and_copies": _words(
        "to to_copy copy clone contiguous cat stack fill zero zeros zeros_like ones ones_like full full_like pad "
        "repeat tile roll flip slice_scatter select_scatter as_strided_scatter im2col "
        "col2im pixel_shuffle pixel_unshuffle channel_shuffle pin_memory arange linspace eye scalar_tensor "
        "tril_indices triu_indices block_diag conj_physical trace"
    ),
    "elementwise": _words(
        "dropout alpha_dropout feature_dropout bernoulli uniform normal rand randn rand_like randn_like randint "
        "randperm random exponential rrelu_with_noise glu prelu threshold log_sigmoid where masked_fill tril triu "
        "floor_divide gelu silu relu sigmoid tanh leaky_relu elu softplus hardswish hardtanh hardsigmoid mish"
    ),
    "reductions": _words(
        "sum mean max min amax amin aminmax argmax argmin norm linalg_vector_norm linalg_norm var std var_mean "
        "std_mean cumsum cumprod cummax cummin logcumsumexp prod any all count_nonzero median mode nansum sum_to_size"
    ),
    "host": _words(
        "empty empty_like empty_strided empty_permuted item local_scalar_dense is_nonzero equal resize set detach "
        "alias lift_fresh lift view reshape reshape_alias resolve_conj resolve_neg result_type has_compatible_shallow "
        "record_stream to_dense coalesce assert_async assert_tensor_metadata version propagate_xla_data"
    ),
}
#: Gradients of views, which fill what the view leaves out; the views themselves move nothing.
_GRADIENTS_OF_VIEWS = _words("slice_backward select_backward diagonal_backward unfold_backward as_strided_backward")
_BY_NAME: dict[str, WorkKind] = {name: kind for kind, names in _NAMES.items() for name in names}

_BY_PATTERN: list[tuple[re.Pattern[str], WorkKind]] = [
    (_ATTENTION, "attention"),
    (_NORMALISATION, "normalisation"),
    (_SOFTMAX_AND_LOSS, "softmax_and_loss"),
    (_CONVOLUTION, "matrix_products"),
    (_SCALING, "gradient_scaling_and_clipping"),
    (_OPTIMIZER, "optimizer"),
    (_POOLING, "reductions"),
    (_PADDING, "casts_and_copies"),
    (_RESAMPLING, "elementwise"),
]

#: What the profiler records beside operators: the autograd engine, calls of the CUDA runtime, and Python.
_HOST_EVENT = re.compile(r"^(autograd::|torch::autograd::|cuda[A-Z]|cu[A-Z]|hip[A-Z]|Activity Buffer|\w+Backward\d*$)")
#: What torch.compile generated: a region, a graph, or one of its kernels.
_COMPILED_EVENT = re.compile(r"^(Torch-Compiled|CompiledFunction|## Call|triton_|graph_\d|cpp_fused|Inductor)")
#: Guards and caches of the compiler, before the code that it generated.
_COMPILER_EVENT = re.compile(r"^(TorchDynamo|Dynamo|Pregraph|AOTDispatcher|PythonSubclass|Guard)")
_COPY_EVENT = re.compile(r"^(Memcpy|Memset)")


@functools.cache
def kind_of(operator: str) -> WorkKind | None:
    """Returns the kind of an operator or of another event that torch's profiler records; None if it is not known.

    `operator` is a name such as `aten::addmm`, without its overload.
    """
    if not operator.startswith("aten::"):
        return _kind_of_event(operator)
    name = operator.removeprefix("aten::")
    if name in _GRADIENTS_OF_VIEWS:
        return "casts_and_copies"
    base = _base(name)
    if base in _BY_NAME:
        return _BY_NAME[base]
    for pattern, kind in _BY_PATTERN:
        if pattern.search(base):
            return kind
    return _kind_by_tags(operator)


@functools.cache
def is_composite(operator: str) -> bool:
    """Whether an operator is always made of others, so that these do all of its work."""
    return operator.startswith("aten::") and any(map(_is_composite, _overloads(operator)))


def _kind_of_event(name: str) -> WorkKind | None:
    if _COMPILED_EVENT.match(name):
        return "fused"
    if _HOST_EVENT.match(name) or _COMPILER_EVENT.match(name):
        return "host"
    if _COPY_EVENT.match(name):
        return "casts_and_copies"
    return None if "::" in name else "host"  # a function of autograd or a mark, which calls operators


def _base(name: str) -> str:
    """The name without implementation, pass and variant: `_fused_adamw_` is `adamw`."""
    base = name.strip("_")
    while (stripped := _DECORATION.sub("", base).strip("_")) != base and stripped:
        base = stripped
    return base


def _kind_by_tags(operator: str) -> WorkKind | None:
    overloads = _overloads(operator)
    rules: list[tuple[Callable[[OpOverload], bool], WorkKind]] = [
        (lambda one: torch.Tag.pointwise in one.tags, "elementwise"),
        (lambda one: torch.Tag.reduction in one.tags, "reductions"),
        (lambda one: one.is_view, "host"),
        (lambda one: torch.Tag.view_copy in one.tags, "casts_and_copies"),
        # Other operators do its work; its own time is dispatch.
        (_is_composite, "host"),
    ]
    return next((kind for is_one, kind in rules if any(map(is_one, overloads))), None)


def _is_composite(overload: OpOverload) -> bool:
    return overload.has_kernel_for_dispatch_key(DispatchKey.CompositeImplicitAutograd)


def _overloads(operator: str) -> list[OpOverload]:
    """The overloads of an operator; none if this torch does not have it."""
    packet = getattr(torch.ops.aten, operator.removeprefix("aten::"), None)
    return [getattr(packet, name) for name in packet.overloads()] if packet else []
