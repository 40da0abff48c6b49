"""Byte-level language modelling of real text."""

import sysconfig
from pathlib import Path

import pytest
import torch

from halftime.contract.models import MlpSpec, TransformerSpec
from halftime.contract.request.data import TextData
from halftime.contract.request.request import BenchmarkRequest
from halftime.plugin import CausalTokens
from worker.data import make_source, seeded
from worker.data.text import library_text
from worker.errors import TrialFailed
from worker.messages import TrialSpec
from worker.models import blueprint_of
from worker.tasks import as_task
from worker.trial.run import run_trial

EXAMPLE = BenchmarkRequest.model_validate_json((Path(__file__).parents[3] / "examples" / "text.json").read_text())

SHAPE = CausalTokens(256, 16)


@pytest.fixture
def datasets(tmp_path, monkeypatch):
    monkeypatch.setenv("HALFTIME_DATASETS_DIR", str(tmp_path))
    return tmp_path


def test_training_and_validation_windows_never_share_a_byte(datasets):
    (datasets / "ab.txt").write_bytes(b"a" * 900 + b"b" * 100)
    source = make_source(as_task(SHAPE), TextData(name="ab.txt"), 0)
    for part, byte in (("training", b"a"), ("validation", b"b")):
        inputs, targets = source.sample(part, 500, seeded(part, 0))
        assert set(inputs.flatten().tolist()) | set(targets.flatten().tolist()) == {*byte}


def test_the_target_is_the_next_byte_and_every_place_can_be_drawn(datasets):
    text = bytes(range(200))
    (datasets / "rising.bin").write_bytes(text)
    source = make_source(as_task(CausalTokens(256, 8)), TextData(name="rising.bin"), 0)
    inputs, targets = source.sample("training", 5000, seeded("training", 0))
    assert inputs.shape == targets.shape == (5000, 8)
    assert inputs.dtype == targets.dtype == torch.int64
    assert torch.equal(targets, inputs + 1)
    assert (int(inputs.min()), int(targets.max())) == (0, 179)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_text_of_wide_characters_is_refused_by_its_name(datasets, encoding):
    (datasets / "wide.txt").write_bytes(("A line of text.\r\n" * 400).encode(encoding))
    with pytest.raises(TrialFailed, match=r"'wide.txt' is text in UTF-16 or UTF-32.*Convert it to UTF-8") as raised:
        make_source(as_task(SHAPE), TextData(name="wide.txt"), 0)
    assert raised.value.failure.code == "invalid_data"


def test_an_empty_text_is_refused_by_its_name(datasets):
    (datasets / "empty.txt").write_bytes(b"")
    with pytest.raises(TrialFailed, match=r"'empty.txt' is empty"):
        make_source(as_task(SHAPE), TextData(name="empty.txt"), 0)


@pytest.mark.parametrize("size", [1, 169, 170, 179])
def test_a_text_shorter_than_its_windows_is_refused(datasets, size):
    (datasets / "short.txt").write_bytes(b"x" * size)
    with pytest.raises(TrialFailed, match="a shorter sequence") as raised:
        make_source(as_task(CausalTokens(256, 17)), TextData(name="short.txt"), 0)
    assert raised.value.failure.code == "invalid_data"


def test_the_least_text_that_a_refusal_names_is_enough(datasets):
    (datasets / "short.txt").write_bytes(b"x" * 181)
    make_source(as_task(CausalTokens(256, 17)), TextData(name="short.txt"), 0).sample("validation", 3, seeded("v", 0))


@pytest.mark.parametrize(
    ("model", "words"),
    [(TransformerSpec(vocab_size=255), "vocab_size to 256 or more, not 255"), (MlpSpec(), "causal language model")],
    ids=["vocabulary", "task"],
)
def test_a_model_that_reads_no_bytes_is_refused_at_the_first_look(model, words):
    with pytest.raises(TrialFailed, match=words) as raised:
        make_source(blueprint_of(model).task, TextData(), 0)
    assert raised.value.failure.code == "invalid_data"


def test_the_library_is_read_in_the_order_of_its_paths_up_to_the_bound(tmp_path):
    for name in ("b.py", "a/z.py", "a.py", "test/c.py", "site-packages/d.py", "e.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name + "\n")
    assert library_text(tmp_path) == b"a/z.py\na.py\nb.py\n"
    assert library_text(tmp_path, max_bytes=7) == b"a/z.py\n"


def test_this_python_s_library_is_enough_to_train_on():
    text = library_text(Path(sysconfig.get_path("stdlib")))
    assert 2**20 < len(text) <= 8 * 2**20
    assert text == library_text(Path(sysconfig.get_path("stdlib")))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_small_transformer_learns_real_text(precision):
    """The example's model made smaller, for fewer steps; a guess by the frequency of bytes scores 3.26 nats."""
    model = EXAMPLE.model.model_copy(update={"hidden_size": 64, "num_layers": 1, "sequence_length": 64})
    training = EXAMPLE.config.training.model_copy(update={"steps": 50, "learning_rate": 0.01})
    spec = TrialSpec(
        device="cpu",
        precision=precision,
        block=0,
        position=0,
        model=model,
        training=training,
        data=EXAMPLE.config.data,
    )
    result = run_trial(spec, lambda step: None)
    assert result.validation_loss < 3.0
    assert result.data.best_possible_loss is None


def test_the_example_asks_for_text_on_any_device():
    assert (EXAMPLE.config.data, EXAMPLE.config.device) == (TextData(), "auto")
    make_source(blueprint_of(EXAMPLE.model).task, EXAMPLE.config.data, 0)
