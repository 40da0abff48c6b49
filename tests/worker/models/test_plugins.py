"""Models and data of installed packages: the example is installed and trained; all else is refused with its reason."""

import sys
import textwrap

import pytest
import torch

from halftime.contract.models import PluginSpec
from halftime.contract.request.data import PluginData
from halftime.contract.request.request import BenchmarkRequest, TrainingConfig
from halftime.plugin import CausalTokens, Vectors
from tests.conftest import EXAMPLE_PLUGIN
from worker.agent.launcher import TrialLauncher
from worker.data import make_data, make_source
from worker.errors import TrialFailed
from worker.messages import Inspection, TrialSpec
from worker.models import blueprint_of
from worker.models.plugin import check_logits
from worker.tasks import as_task

REQUEST = BenchmarkRequest.model_validate_json((EXAMPLE_PLUGIN / "request.json").read_text())


@pytest.mark.anyio
@pytest.mark.parametrize("workers", [None, 1])
async def test_the_example_trains_in_a_real_trial(example, monkeypatch, workers):
    monkeypatch.syspath_prepend(example)
    loader = None if workers is None else {"workers": workers}
    data = PluginData.model_validate(REQUEST.config.data.model_dump() | {"loader": loader})
    launcher = TrialLauncher()
    try:
        inspection = Inspection(device="cpu", model=REQUEST.model, data=data, seed=0)
        facts, logs = await launcher.inspect(inspection, 60)
        assert (facts.parameter_count, logs) == (16 * 1024 + 1024 + 512 * 4 + 4, "")
        result, _ = await launcher.run(
            TrialSpec(
                device="cpu",
                precision="bf16",
                block=0,
                position=0,
                model=REQUEST.model,
                training=REQUEST.config.training,
                data=data,
            ),
            120,
            lambda step: None,
        )
    finally:
        await launcher.close()
    assert result.validation_accuracy > 0.9
    assert result.data.best_possible_accuracy == 1.0
    assert result.parameter_count == facts.parameter_count


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Installs a module with entry points, as a package manager would leave it."""

    def install(code, package="some-package", **groups):
        module = package.replace("-", "_")
        (tmp_path / f"{module}.py").write_text(textwrap.dedent(code))
        facts = tmp_path / f"{module}-1.0.dist-info"
        facts.mkdir()
        (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = [f"[halftime.{group}]\n{name} = {module}:{name}\n" for group, names in groups.items() for name in names]
        (facts / "entry_points.txt").write_text("\n".join(lines))

    monkeypatch.syspath_prepend(tmp_path)
    yield install
    for name in [name for name in sys.modules if name.endswith("_package")]:
        del sys.modules[name]


MODELS = """
    import torch
    from torch import nn
    from types import SimpleNamespace
    from halftime.plugin import Vectors

    def fine(size=4):
        return SimpleNamespace(task=Vectors(size, 3), build=lambda: nn.Linear(size, 3))

    def shapeless():
        return nn.Linear(4, 3)

    def no_module():
        return SimpleNamespace(task=Vectors(4, 3), build=lambda: "a model")

    def no_weights():
        return SimpleNamespace(task=Vectors(4, 3), build=lambda: nn.Flatten())

    def broken():
        return SimpleNamespace(task=Vectors(4, 3), build=lambda: nn.Linear(-4, 3))

    def too_narrow():
        return SimpleNamespace(task=Vectors(4, 3), build=lambda: nn.Linear(4, 2))

    def other_inputs():
        return SimpleNamespace(task=Vectors(4, 3), build=lambda: nn.Linear(5, 3))

    class Asking(nn.Linear):
        def forward(self, inputs):
            return super().forward(inputs) * float(inputs.sum())

    def asking():
        return SimpleNamespace(task=Vectors(4, 3), build=lambda: Asking(4, 3))

    not_callable = 7
"""


def refused(make, code):
    with pytest.raises(TrialFailed) as raised:
        make()
    assert raised.value.failure.code == code
    return raised.value.failure.detail


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("fine", {"width": 4}, "unexpected keyword argument 'width'"),
        ("fine", {"size": "x"}, "could not build"),
        ("shapeless", {}, "must return a halftime.plugin.Blueprint"),
        ("no_module", {}, "torch module with parameters"),
        ("no_weights", {}, "torch module with parameters"),
        ("broken", {}, "could not build its model. RuntimeError"),
        ("not_callable", {}, "not callable"),
        ("missing_attribute", {}, "cannot be loaded. AttributeError"),
        ("unknown", {}, "Installed: "),
        ("torch.nn:Linear", {}, "Installed: "),
        ("os", {}, "broken, fine, missing_attribute"),
    ],
)
def test_a_model_that_cannot_be_had_says_why(installed, name, arguments, words):
    names = ["fine", "shapeless", "no_module", "no_weights", "broken", "not_callable", "missing_attribute"]
    installed(MODELS, models=names)
    spec = PluginSpec.model_construct(name=name, arguments=arguments)
    detail = refused(lambda: blueprint_of(spec).build(), "invalid_model")
    assert words in detail
    assert repr(name) in detail


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("too_narrow", r"(2, 3) for two samples, not (2, 2)"),
        ("other_inputs", "failed on samples of its shape. RuntimeError"),
    ],
)
def test_a_model_that_breaks_its_own_promise_is_refused_before_it_trains(installed, name, words):
    installed(MODELS, models=[name])
    assert words in refused(lambda: look_at(name), "invalid_model")


def test_a_model_that_asks_for_values_is_not_refused_for_it(installed):
    installed(MODELS, models=["asking"])
    look_at("asking")


def look_at(name):
    spec = PluginSpec(name=name)
    blueprint = blueprint_of(spec)
    with torch.device("meta"):
        model = blueprint.build()
    check_logits(spec, model, blueprint.task.shape)


def test_a_plugin_s_weights_come_from_the_block_s_seed(installed):
    installed(MODELS, models=["fine"])
    weights = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        weights.append(blueprint_of(PluginSpec(name="fine")).build().weight)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_synthetic_data_fits_a_plugin_s_shape(installed):
    installed(MODELS, models=["fine"])
    assert blueprint_of(PluginSpec(name="fine", arguments={"size": 9})).task.shape == Vectors(9, 3)


def test_a_package_that_fails_to_import_is_quoted(installed):
    installed("raise OSError('no such library')", models=["fine"])
    assert "OSError: no such library" in refused(lambda: blueprint_of(PluginSpec(name="fine")).build(), "invalid_model")


def test_a_name_that_two_packages_offer_is_refused(installed):
    installed(MODELS, models=["fine"])
    installed(MODELS, package="another-package", models=["fine"])
    detail = refused(lambda: blueprint_of(PluginSpec(name="fine")).build(), "invalid_model")
    assert "another-package, some-package" in detail


def test_nothing_is_imported_for_an_unknown_name(installed):
    installed("raise AssertionError", models=["fine"])
    refused(lambda: blueprint_of(PluginSpec(name="other")).build(), "invalid_model")
    assert "some_package" not in sys.modules


def test_without_any_package_a_refusal_says_none():
    assert "Installed: none" in refused(lambda: blueprint_of(PluginSpec(name="fine")).build(), "invalid_model")
    assert "Installed: none" in refused(
        lambda: make_source(as_task(Vectors(4, 3)), PluginData(name="fine"), 0), "invalid_data"
    )


DATA = """
    import torch

    class fine:
        best_possible_loss = 0.5
        best_possible_accuracy = None
        sample_bytes = 24

        def __init__(self, shape, seed, fault=None):
            self.fault = fault

        def sample(self, part, count, generator):
            inputs = torch.randn(count, 4, generator=generator)
            targets = torch.randint(3, (count,), generator=generator, dtype=torch.int32)
            if self.fault:
                inputs, targets = FAULTS[self.fault](inputs, targets)
            return inputs, targets

    FAULTS = {
        "shape": lambda inputs, targets: (inputs[:, :3], targets),
        "count": lambda inputs, targets: (inputs[1:], targets[1:]),
        "label": lambda inputs, targets: (inputs, targets + 3),
        "nan": lambda inputs, targets: (inputs * torch.nan, targets),
        "dtype": lambda inputs, targets: (inputs, targets.float()),
        "numbers": lambda inputs, targets: (inputs.tolist(), targets),
        "one": lambda inputs, targets: inputs,
        "raise": lambda inputs, targets: 1 / 0,
    }

    def nothing(shape, seed):
        return None
"""


def data_of(installed, **arguments):
    installed(DATA, data=["fine", "nothing"])
    return PluginData(name="fine", arguments=arguments)


def test_a_plugin_s_samples_are_what_the_loop_trains_on(installed):
    data = make_data(
        as_task(Vectors(4, 3)), data_of(installed), TrainingConfig(batch_size=5, steps=4, warmup_steps=1), 0
    )
    inputs, targets = data.training[0]
    assert (inputs.shape, inputs.dtype, targets.shape, targets.dtype) == ((5, 4), torch.float32, (5,), torch.int64)
    assert data.facts.best_possible_loss == 0.5


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("shape", r"must have the model's shape (samples, 4)"),
        ("count", "a tensor of 2 samples"),
        ("label", "has labels from"),
        ("nan", "a NaN"),
        ("dtype", "must be integers"),
        ("numbers", "must be a tensor"),
        ("one", "could not draw training samples"),
        ("raise", "ZeroDivisionError"),
    ],
)
def test_samples_that_do_not_fit_are_refused_at_the_first_look(installed, fault, words):
    config = data_of(installed, fault=fault)
    assert words in refused(lambda: make_source(as_task(Vectors(4, 3)), config, 0), "invalid_data")


def test_data_for_another_model_or_with_other_arguments_is_refused(installed):
    config = data_of(installed)
    assert "must have the model's shape" in refused(
        lambda: make_source(as_task(CausalTokens(5, 5)), config, 0), "invalid_data"
    )
    other = config.model_copy(update={"arguments": {"seed": 1}})
    assert "multiple values" in refused(lambda: make_source(as_task(Vectors(4, 3)), other, 0), "invalid_data")
    nothing = PluginData(name="nothing")
    assert "must return a" in refused(lambda: make_source(as_task(Vectors(4, 3)), nothing, 0), "invalid_data")
