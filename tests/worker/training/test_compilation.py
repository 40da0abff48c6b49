"""torch.compile where a request asks for it: from an empty cache, counted, and proven on the module itself."""

import contextlib
import os
import re
import tempfile
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn
from torch._dynamo.exc import TorchDynamoException
from torch._dynamo.utils import counters

from app.reports.text.wording import context_lines
from halftime.contract.models import ConvnetSpec, MlpSpec, TransformerSpec
from halftime.contract.report.trial import Compilation, MemoryBreakdown
from halftime.contract.request.training import CompileConfig, TrainingConfig
from tests.factories import comparison, request, trial
from tests.mounts import python_with_tmpfs
from worker.agent.launcher import TrialLauncher
from worker.comparison.blocks import compare
from worker.device.compiler_caches import remove_caches, shared_cache
from worker.errors import TrialFailed
from worker.messages import TrialSpec
from worker.models import TaskBlueprint, blueprint_of
from worker.report.build import make_report
from worker.training import compilation, compilers
from worker.training.compilation import CompileWatch, compiler_with_cache
from worker.training.memory import break_down
from worker.trial.run import run_trial

CPU = torch.device("cpu")
MODELS = [
    MlpSpec(input_size=8, hidden_size=16, num_layers=1, num_classes=4),
    ConvnetSpec(image_size=8, widths=[8], blocks_per_stage=2),
    TransformerSpec(vocab_size=16, hidden_size=16, num_layers=2, num_heads=2, sequence_length=8),
]


def trial_spec(model=MODELS[0], precision="bf16", **changes):
    training = TrainingConfig(**{"batch_size": 8, "steps": 4, "warmup_steps": 2} | changes)
    return TrialSpec(
        device="cpu", precision=precision, block=0, position=0, model=model, training=training, examined=True
    )


def result(model=MODELS[0], **changes):
    return run_trial(trial_spec(model, **changes), lambda step: None)


def caches():
    return list(Path(tempfile.gettempdir()).glob(f"halftime-compile-{os.getpid()}-*"))


@pytest.fixture
def traced(monkeypatch):
    """Compiles down to torch's own operations: what is tested here is not Inductor."""
    monkeypatch.setattr("worker.trial.run.compiled", partial(compilation.compiled, backend="aot_eager"))


@pytest.mark.parametrize("spec", MODELS, ids=lambda spec: spec.kind)
def test_a_compiled_model_trains_as_it_does_without(traced, spec):
    plain = result(spec, precision="fp32")
    made = result(spec, precision="fp32", compile=CompileConfig(fullgraph=True), activation_checkpointing=True)
    assert made.loss_curve == pytest.approx(plain.loss_curve, rel=1e-4)
    assert made.validation_loss == pytest.approx(plain.validation_loss, rel=1e-4)
    assert plain.compilation is None
    found = made.compilation
    assert (found.graphs, found.graph_breaks, found.recompiles, found.recompiles_in_measured_steps) == (1, 0, 0, 0)
    assert found.compile_seconds > 0


def test_the_proof_is_of_the_module_itself(traced):
    made = result(compile=CompileConfig())
    assert made.attestation.forward_dtypes == {"Linear": ["bfloat16"]}
    assert made.least_flops_per_step > 0
    assert made.numerics.gradient_relative_rmse < 0.1
    assert made.memory.breakdown.total_bytes() == made.memory.peak_bytes
    assert min(made.memory.breakdown.model_dump().values()) >= 0


class Breaks(nn.Module):
    """Leaves the graph for Python."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 4)

    def forward(self, vectors):
        torch._dynamo.graph_break()
        return self.layer(vectors)


def building(monkeypatch, module):
    """Trials train this module, on the data of an MLP."""
    blueprint = TaskBlueprint(blueprint_of(MODELS[0]).task, module)
    monkeypatch.setattr("worker.trial.preparation.blueprint_of", lambda spec: blueprint)


def test_a_recompilation_is_counted_where_it_happens():
    watch, layer = CompileWatch(), nn.Linear(4, 4)
    asked = CompileConfig()
    with compiler_with_cache(asked, CPU):
        forward = compilation.compiled(layer, asked, backend="eager")
        forward(torch.ones(2, 4))
        watch.after_first_step()
        forward(torch.ones(2, 4))
        forward(torch.ones(2, 2, 4))
        watch.before_measured()
        forward(torch.ones(2, 2, 4))
        forward(torch.ones(2, 2, 2, 4))
        found = watch.result(asked)
    assert (found.recompiles, found.recompiles_in_measured_steps) == (2, 1)


def test_a_graph_break_is_counted_and_refused_where_one_graph_is_asked_for(traced, monkeypatch):
    building(monkeypatch, Breaks)
    assert result(compile=CompileConfig()).compilation.graph_breaks == 1
    with pytest.raises(TrialFailed) as failed:
        result(compile=CompileConfig(fullgraph=True))
    assert failed.value.failure.code == "invalid_model"
    assert failed.value.failure.detail.startswith("compile: torch.compile cannot compile the model")
    assert caches() == []


def test_a_machine_without_a_compiler_says_so_at_once(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert result().applied_steps == 4
    with pytest.raises(TrialFailed) as failed:
        result(compile=CompileConfig())
    assert failed.value.failure.code == "invalid_model"
    assert "no g++" in failed.value.failure.detail
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(TrialFailed, match="no-such-compiler"):
        result(compile=CompileConfig())


def command(folder, name):
    made = folder / name
    made.write_text("")
    made.chmod(0o755)


@pytest.mark.parametrize(
    ("device", "compiler", "header", "said"),
    [
        ("cuda", "gcc", True, None),
        ("cuda", "clang", True, None),
        ("cuda", "cc", True, "no gcc or clang"),
        ("cuda", "gcc", False, "no .*Python.h"),
        ("cpu", "g++", True, None),
        ("cpu", "g++", False, "no .*Python.h"),
    ],
)
def test_the_device_s_compiler_and_python_s_headers_must_be_there(
    monkeypatch, tmp_path, device, compiler, header, said
):
    monkeypatch.setenv("PATH", str(tmp_path))
    for variable in ("CC", "CXX"):
        monkeypatch.delenv(variable, raising=False)
    command(tmp_path, compiler)
    if header:
        (tmp_path / "Python.h").touch()
    monkeypatch.setattr(compilers.sysconfig, "get_path", lambda name: str(tmp_path))
    expected = pytest.raises(TrialFailed, match=said) if said else contextlib.nullcontext()
    with expected as failed, compiler_with_cache(CompileConfig(), torch.device(device, 0)):
        pass
    assert failed is None or failed.value.failure.code == "invalid_model"


def test_a_worker_that_can_write_nowhere_is_told_what_to_mount(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(TrialFailed, match=r"the worker has none: .*docker run --tmpfs /tmp:exec") as failed:
        result(compile=CompileConfig())
    assert failed.value.failure.code == "invalid_model"


#: Says what keeps torch.compile from its work, or that nothing does.
TRIED = """
import os, torch
from halftime.contract.request.training import CompileConfig
from worker.training.compilation import compiler_with_cache
from worker.errors import TrialFailed
try:
    with compiler_with_cache(CompileConfig(), torch.device("cpu")):
        print("compiles in", os.environ["TORCHINDUCTOR_CACHE_DIR"])
except TrialFailed as error:
    print(error.failure.code, error.failure.detail)
"""


@pytest.mark.parametrize(
    ("options", "said"), [("exec", "compiles in {}"), ("noexec", "invalid_model compile: .* {}, mounted noexec")]
)
def test_a_folder_from_which_nothing_can_be_loaded_is_refused(tmp_path, options, said):
    assert re.match(said.format(tmp_path), python_with_tmpfs(tmp_path, options, TRIED, TMPDIR=str(tmp_path)))


def test_memory_that_ran_out_while_compiling_is_not_the_model_s_fault():
    with (
        pytest.raises(TorchDynamoException, match="out of memory"),
        compiler_with_cache(CompileConfig(), CPU),
    ):
        raise TorchDynamoException("Triton Error [CUDA]: out of memory")


def test_every_trial_compiles_from_an_empty_cache_and_leaves_none(monkeypatch):
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    seen = []
    for _ in range(2):
        with compiler_with_cache(CompileConfig(), CPU):
            (folder,) = caches()
            assert list(folder.iterdir()) == []
            assert Path(os.environ["TORCHINDUCTOR_CACHE_DIR"]).parent == folder
            (folder / "kernel").touch()
            seen.append(folder)
    assert seen[0] != seen[1]
    assert caches() == []
    assert "TORCHINDUCTOR_CACHE_DIR" not in os.environ


@pytest.mark.filterwarnings("ignore:.*script_method:DeprecationWarning")  # of torch's own code
def test_trials_that_share_a_cache_compile_once(tmp_path):
    hits = []
    for _ in range(2):
        with compiler_with_cache(CompileConfig(), CPU, str(tmp_path)):
            compilation.compiled(nn.ReLU(), CompileConfig())(torch.ones(3))
            hits.append(counters["inductor"]["fxgraph_cache_hit"])
    assert hits == [0, 1]
    assert list(tmp_path.iterdir())
    assert caches() == []


def test_a_trial_compiles_in_the_cache_that_it_is_given(monkeypatch, tmp_path):
    folders = []

    def eager(model, settings):
        folders.append(Path(os.environ["TORCHINDUCTOR_CACHE_DIR"]).parent)
        return compilation.compiled(model, settings, backend="aot_eager")

    monkeypatch.setattr("worker.trial.run.compiled", eager)
    spec = trial_spec(compile=CompileConfig())
    run_trial(spec.model_copy(update={"compile_cache": str(tmp_path)}), lambda step: None)
    run_trial(spec, lambda step: None)
    assert folders[0] == tmp_path
    assert folders[1].name.startswith("halftime-compile-")


def test_a_shared_cache_is_removed_and_missing_where_nothing_can_be_written(tmp_path, monkeypatch):
    with shared_cache() as folder:
        assert Path(folder).is_dir()
        (Path(folder) / "kernel").touch()
    assert not Path(folder).exists()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with shared_cache() as folder:
        assert folder is None


def test_the_cache_of_a_killed_process_is_removed_and_no_other(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for pid in (12, 123):
        (tmp_path / f"halftime-compile-{pid}-x" / "deep").mkdir(parents=True)
    remove_caches(12)
    assert [folder.name for folder in tmp_path.iterdir()] == ["halftime-compile-123-x"]


@pytest.mark.anyio
async def test_a_trial_process_compiles_for_real_and_leaves_no_cache():
    launcher = TrialLauncher()
    before = set(Path(tempfile.gettempdir()).glob("halftime-compile-*"))
    try:
        outcome, logs = await launcher.run(trial_spec(compile=CompileConfig()), 240, lambda step: None)
    finally:
        await launcher.close()
    assert outcome.compilation.graphs == 1, logs
    assert outcome.compilation.compile_seconds > max(outcome.step_seconds)
    assert outcome.loss_curve == pytest.approx(result().loss_curve, rel=0.05)
    assert set(Path(tempfile.gettempdir()).glob("halftime-compile-*")) <= before


@pytest.mark.anyio
async def test_recompilation_in_measured_steps_is_a_warning_and_compile_time_is_told():
    made = Compilation(
        mode="default",
        compile_seconds=3.0,
        graphs=1,
        graph_breaks=0,
        recompiles=2,
        recompiles_in_measured_steps=2,
    )

    async def run_one(spec, deadline_seconds, after_step):
        return trial(spec, compilation=made if spec.precision == "bf16" else None)

    report = make_report("id", await compare(comparison(request()), run_one, lambda progress: None))
    warnings = [warning for warning in report.warnings if "recompiled during the measured steps" in warning]
    assert len(warnings) == 1
    assert warnings[0].startswith("bf16: ")
    assert any("bf16 3.0 s (1 graphs, 2 recompiled)" in line for line in context_lines(report))


def test_a_step_smaller_than_its_account_takes_from_what_a_compiler_saves():
    account = MemoryBreakdown(
        parameters=10, gradients=10, optimizer=20, buffers=1, activations=30, temporary=5, other=4
    )
    larger, smaller = break_down(account, 90), break_down(account, 60)
    assert larger == account.model_copy(update={"other": 14})
    assert smaller == account.model_copy(update={"other": 0, "temporary": 0, "activations": 19})
    assert smaller.total_bytes() == 60
