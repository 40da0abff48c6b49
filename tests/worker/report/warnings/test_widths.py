"""Widths that tensor cores do not like are named, of every kind of model that has them."""

import pytest

from halftime.contract.models import DiffusersSpec, DitSpec, DlrmSpec
from worker.report.warnings.widths import widths

WIDTHS = {
    "dit": (DitSpec(hidden_size=36, num_heads=6), [("hidden_size", 36)]),
    "dlrm": (
        DlrmSpec(embedding_dim=10, bottom_widths=[12], top_widths=[7, 8]),
        [("embedding_dim", 10), ("bottom_widths", 12), ("top_widths", 7), ("top_widths", 8)],
    ),
    "diffusers": (
        DiffusersSpec(config={"block_out_channels": [30, 64]}),
        [("config.block_out_channels", 30), ("config.block_out_channels", 64)],
    ),
    "diffusers by default": (DiffusersSpec(), []),
}


@pytest.mark.parametrize("name", WIDTHS)
def test_the_widths_of_a_model_are_those_of_its_matrix_products(name):
    spec, expected = WIDTHS[name]
    assert widths(spec) == expected
