"""Operators by kind: names of every implementation, and whatever torch itself says about the others."""

import pytest
import torch

from worker.explain.kinds import kind_of

KINDS = {
    "matrix_products": "mm addmm bmm linear convolution_backward mkldnn_convolution _scaled_mm conv2d "
    "_convolution mkldnn_linear cudnn_convolution _conv_depthwise2d convolution_overrideable",
    "attention": "scaled_dot_product_attention _scaled_dot_product_flash_attention_for_cpu_backward "
    "_scaled_dot_product_efficient_attention _flash_attention_forward _fused_sdp_choice",
    "normalisation": "native_layer_norm native_layer_norm_backward layer_norm cudnn_batch_norm native_batch_norm "
    "_fused_rms_norm native_group_norm _batch_norm_impl_index batch_norm",
    "softmax_and_loss": "_softmax _log_softmax_backward_data cross_entropy_loss nll_loss_forward nll_loss2d_backward "
    "mse_loss binary_cross_entropy_with_logits _ctc_loss smooth_l1_loss_backward",
    "elementwise": "add_ mul gelu gelu_backward silu tanh_backward threshold_backward native_dropout where exp div_ "
    "addcmul sigmoid native_dropout_backward masked_fill_",
    "reductions": "sum mean linalg_vector_norm amax max_pool2d_with_indices adaptive_avg_pool2d_backward cumsum "
    "var_mean",
    "embedding_and_indexing": "embedding embedding_dense_backward index_select gather index_put_ scatter_add_ topk",
    "casts_and_copies": "_to_copy copy_ clone contiguous cat constant_pad_nd fill_ zeros_like slice_backward "
    "select_backward to",
    "optimizer": "_fused_adamw_ _fused_sgd_",
    "gradient_scaling_and_clipping": "_amp_foreach_non_finite_check_and_unscale_ _amp_update_scale_",
    "host": "empty empty_strided view t transpose detach expand as_strided _unsafe_view item _local_scalar_dense "
    "result_type unbind narrow slice select",
}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in KINDS.items() for name in names.split()])
def test_operators_are_assigned(kind, name):
    assert kind_of(f"aten::{name}") == kind


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        ("autograd::engine::evaluate_function: AddmmBackward0", "host"),
        ("AddmmBackward0", "host"),
        ("torch::autograd::AccumulateGrad", "host"),
        ("cudaLaunchKernel", "host"),
        ("Memcpy HtoD (Pageable -> Device)", "casts_and_copies"),
        ("Torch-Compiled Region: 0/0", "fused"),
        ("triton_poi_fused_add_0", "fused"),
        ("CompiledFunctionBackward", "fused"),
        ("somebody::operator", None),
        ("aten::no_such_operator_exists", None),
    ],
)
def test_other_events_are_assigned(event, kind):
    assert kind_of(event) == kind


def test_torchs_own_tags_cover_operators_without_a_name_here():
    assert torch.Tag.pointwise in torch.ops.aten.erfinv.default.tags
    assert kind_of("aten::erfinv") == "elementwise"
