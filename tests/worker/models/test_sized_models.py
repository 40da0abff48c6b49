"""Models of any size: parameters and work are what their specs count, and a size that cannot be is refused."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from halftime.contract.models import DitSpec, DlrmSpec, MlpSpec
from worker.models import blueprint_of

PROPERTY = settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
SMALL = st.integers(1, 6)
WIDTHS = st.lists(SMALL, max_size=3)


@st.composite
def dits(draw):
    heads, patch = draw(SMALL), draw(st.integers(1, 4))
    return DitSpec(
        image_size=patch * draw(SMALL),
        channels=draw(SMALL),
        patch_size=patch,
        hidden_size=4 * heads * draw(st.integers(1, 3)),
        num_layers=draw(SMALL),
        num_heads=heads,
        num_classes=draw(SMALL),
    )


DLRMS = st.builds(
    DlrmSpec,
    num_tables=SMALL,
    rows_per_table=st.integers(2, 9),
    bag_size=SMALL,
    embedding_dim=SMALL,
    dense_features=SMALL,
    bottom_widths=WIDTHS,
    top_widths=WIDTHS,
)
MLP_SIZES = {"input_size": SMALL, "hidden_size": SMALL, "num_layers": SMALL}
MLPS = st.one_of(
    st.builds(MlpSpec, num_classes=st.integers(2, 6), **MLP_SIZES),
    st.builds(MlpSpec, task=st.just("regression"), num_targets=SMALL, **MLP_SIZES),
)


@PROPERTY
@given(st.one_of(dits(), DLRMS, MLPS))
def test_the_parameter_count_is_that_of_the_module(spec):
    with torch.device("meta"):
        module = blueprint_of(spec).build()
    assert spec.parameter_count() == sum(parameter.numel() for parameter in module.parameters())


@PROPERTY
@given(st.one_of(dits(), DLRMS))
def test_the_work_is_what_torch_counts(spec):
    blueprint = blueprint_of(spec)
    model = blueprint.build()
    batch = blueprint.task.source(0).sample("training", 2, torch.Generator().manual_seed(0))
    # The counter does not know the CPU's fused attention.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as forward:
        blueprint.task.loss(model, batch)
    assert spec.training_flops_per_sample() * 2 == 3 * forward.get_total_flops()


def test_the_default_dit_is_dit_s_2():
    """Peebles & Xie 2023, table 4: 12 layers, width 384, 6 heads and 33 M parameters.

    github.com/facebookresearch/DiT, models.py, has 32,963,360 of them: besides those here a fixed table of positions, a
    predicted variance of every number in a patch, and a class that means none.
    """
    spec = DitSpec()
    positions, variances, no_class = 256 * 384, (384 + 1) * 16, 384
    assert spec.parameter_count() == 32_858_512
    assert spec.parameter_count() + positions + variances + no_class == 32_963_360
    assert (spec.num_layers, spec.hidden_size, spec.num_heads, spec.patch_size) == (12, 384, 6, 2)


def test_a_new_dit_predicts_no_noise_and_only_its_output_has_a_gradient():
    spec = DitSpec(image_size=8, hidden_size=32, num_layers=2, num_heads=2)
    blueprint = blueprint_of(spec)
    model = blueprint.build()
    batch = blueprint.task.source(0).sample("training", 64, torch.Generator().manual_seed(0))
    loss = blueprint.task.loss(model, batch)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(float(batch["noise"].square().mean()))
    moving = {name for name, weight in model.named_parameters() if weight.grad.any()}
    assert {name.partition(".")[0] for name in moving} == {"output"}


def test_the_patches_of_an_image_come_out_where_they_went_in():
    """A prediction from one patch alone is at that patch: shown by a Diffusion Transformer whose blocks do nothing."""
    spec = DitSpec(image_size=8, channels=3, hidden_size=16, num_layers=1, num_heads=2, num_classes=2)
    model = blueprint_of(spec).build()
    torch.nn.init.normal_(model.output.weight)
    images, places = torch.zeros(1, 3, 8, 8), torch.zeros(1, dtype=torch.int64)
    changed = images.clone()
    changed[:, :, 2:4, 6:8] = 1
    moved = (model(changed, places, places) - model(images, places, places)).abs().sum(dim=1)[0] > 0
    assert moved.nonzero().tolist() == [[row, column] for row in (2, 3) for column in (6, 7)]


def test_positions_tell_every_patch_apart():
    positions = blueprint_of(DitSpec(hidden_size=16, num_layers=1, num_heads=2)).build().positions
    assert torch.cdist(positions, positions).fill_diagonal_(1).min() > 0.01


def test_the_default_dlrm_has_the_widths_of_its_authors_for_criteo():
    """github.com/facebookresearch/dlrm, bench/dlrm_s_criteo_kaggle.sh: 13-512-256-64-16 and 512-256-1, 26 tables."""
    tables = 26 * 10_000 * 16
    bottom = 14 * 512 + 513 * 256 + 257 * 64 + 65 * 16
    top = (16 + 27 * 26 // 2 + 1) * 512 + 513 * 256 + 257
    assert DlrmSpec().parameter_count() == tables + bottom + top == 4_635_985


def test_the_interactions_of_dlrm_are_the_dot_products_of_all_pairs():
    spec = DlrmSpec(
        num_tables=2, rows_per_table=3, bag_size=2, embedding_dim=4, dense_features=5, bottom_widths=[], top_widths=[]
    )
    model = blueprint_of(spec).build()
    dense, categories = torch.randn(1, 5), torch.tensor([[[0, 2], [1, 1]]])
    numeric = model.bottom(dense)[0]
    first = model.tables[0].weight[0] + model.tables[0].weight[2]
    second = 2 * model.tables[1].weight[1]
    expected = torch.cat([numeric, torch.stack([first @ numeric, second @ numeric, second @ first])])
    assert torch.allclose(model(dense, categories), model.top(expected))


REFUSED = [
    (DitSpec, {"patch_size": 3}, "patch_size (3) must divide image_size (32)"),
    (DitSpec, {"num_heads": 5}, "num_heads (5) must divide hidden_size (384)"),
    (DitSpec, {"hidden_size": 6, "num_heads": 6}, "hidden_size must be a multiple of 4"),
    (DlrmSpec, {"bottom_widths": [0]}, "greater than or equal to 1"),
]


@pytest.mark.parametrize(("kind", "fields", "why"), REFUSED)
def test_sizes_that_do_not_fit_are_refused(kind, fields, why):
    with pytest.raises(ValidationError) as refused:
        kind(**fields)
    assert why in str(refused.value)


def test_requests_from_before_regression_mean_what_they_meant():
    spec = MlpSpec.model_validate({"kind": "mlp", "input_size": 8, "num_classes": 3})
    assert (spec.task, spec.num_outputs) == ("classification", 3)
