"""The dtypes that a leg multiplied in: a check with their shares, and a warning that names modules and a remedy."""

import pytest

from halftime.contract.models import TransformersSpec
from halftime.contract.report.trial import MultiplyingModules
from tests.factories import comparison, request, trial
from worker.comparison.blocks import compare
from worker.report.build import make_report

EXPERTS = MultiplyingModules(
    module_class="MixtralExperts",
    module="model.layers.0.mlp.experts",
    operator="aten::_grouped_mm",
    dtype="float32",
    flops=6e8,
)
ATTENTION = EXPERTS.model_copy(update={"module_class": "Attention", "module": "", "operator": "aten::bmm"})
MIXTRAL = request().model_copy(update={"model": TransformersSpec(model_type="mixtral", task="causal-lm")})


async def report_of(bf16, fp32=None, asked=None, **attested):
    """A report whose legs multiplied `bf16` and `fp32`: FLOPs by dtype."""

    async def simulate(spec, deadline_seconds, after_step):
        made = trial(spec)
        candidate = spec.precision == "bf16"
        flops = bf16 if candidate else fp32 or {"float32": 1e9}
        update = {"multiplied_flops": flops} | (attested if candidate else {})
        return made.model_copy(update={"attestation": made.attestation.model_copy(update=update)})

    return make_report("id", await compare(comparison(asked or request()), simulate, lambda progress: None))


def checks(report, name):
    return {check.leg: check for check in report.attestation.checks if check.name == name}


def about(report):
    return [warning for warning in report.warnings if "FLOPs" in warning]


@pytest.mark.anyio
async def test_experts_in_fp32_are_a_warning_with_the_remedy_and_no_reason_to_distrust_the_report():
    report = await report_of(
        {"bfloat16": 4e8, "float32": 6e8},
        asked=MIXTRAL,
        multiplied_elsewhere=[EXPERTS],
        forward_dtypes={"Linear": ["bfloat16"]},
    )
    assert report.attestation.ok
    assert checks(report, "multiplied_dtypes")["bf16"].observed == "bfloat16 40.00%, float32 60.00%"
    assert about(report) == [
        "bf16: 60% of the FLOPs that a step multiplies are not in bfloat16: MixtralExperts "
        "(model.layers.0.mlp.experts) in float32 (aten::_grouped_mm). Autocast does not cover grouped products. Set "
        'config.experts_implementation to "eager".'
    ]


@pytest.mark.anyio
async def test_other_modules_are_named_without_a_setting_that_they_do_not_have():
    report = await report_of({"bfloat16": 4e8, "float32": 6e8}, multiplied_elsewhere=[ATTENTION])
    (warning,) = about(report)
    assert "Attention in float32 (aten::bmm)" in warning
    assert "experts_implementation" not in warning


@pytest.mark.anyio
@pytest.mark.parametrize("bf16", [{"bfloat16": 1e9}, {"bfloat16": 9.1e8, "float32": 0.9e8}])
async def test_a_small_part_in_another_dtype_is_in_the_check_alone(bf16):
    report = await report_of(bf16)
    assert about(report) == []
    assert checks(report, "multiplied_dtypes")["bf16"].ok


@pytest.mark.anyio
async def test_a_leg_that_never_multiplied_in_its_dtype_is_not_that_leg():
    report = await report_of({"float32": 1e9})
    assert not checks(report, "multiplied_dtypes")["bf16"].ok
    assert report.verdict == "invalid"


@pytest.mark.anyio
async def test_a_model_that_lowers_its_operands_itself_is_told_of_in_the_baseline():
    report = await report_of({"bfloat16": 1e9}, fp32={"float32": 5e8, "bfloat16": 5e8})
    assert [warning.partition(":")[0] for warning in about(report)] == ["fp32"]


@pytest.mark.anyio
async def test_a_model_without_matrix_multiplying_modules_is_judged_by_its_operations():
    report = await report_of({"bfloat16": 1e9}, forward_dtypes={})
    assert report.attestation.ok
    assert set(checks(report, "forward_dtypes")) == {"fp32"}


@pytest.mark.anyio
async def test_a_report_of_an_earlier_release_has_no_such_check():
    report = await report_of({}, fp32={"float32": 1.0})
    assert set(checks(report, "multiplied_dtypes")) == {"fp32"}
