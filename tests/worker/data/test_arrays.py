"""Samples from arrays in a file: checked against the model, never unpickled, never larger than they say."""

import io
import json
import pickle
import struct
import zipfile

import numpy
import pytest
import safetensors.torch
import torch

from halftime.contract.models import ConvnetSpec, MlpSpec, TransformerSpec
from halftime.contract.request.data import ArraysData
from halftime.contract.request.training import TrainingConfig
from halftime.plugin import IGNORED, CausalTokens, ClassifiedTokens, Images, MaskedTokens, TokenPairs, Vectors
from worker.data import array_files, make_data, make_source, seeded
from worker.data.array_files import read_arrays
from worker.errors import TrialFailed
from worker.messages import TrialSpec
from worker.models import blueprint_of
from worker.tasks import as_task
from worker.trial.run import run_trial

VECTORS = Vectors(4, 3)


@pytest.fixture
def datasets(tmp_path, monkeypatch):
    monkeypatch.setenv("HALFTIME_DATASETS_DIR", str(tmp_path))
    return tmp_path


def vectors(samples=20, size=4, classes=3):
    rows = numpy.arange(samples, dtype=numpy.float32)[:, None].repeat(size, axis=1)
    return {"inputs": rows, "targets": numpy.arange(samples) % classes}


def source_of(datasets, arrays, shape=VECTORS, compressed=False):
    (numpy.savez_compressed if compressed else numpy.savez)(datasets / "some.npz", **arrays)
    return make_source(as_task(shape), ArraysData(name="some.npz"), 0)


def refused(*arguments, **named):
    with pytest.raises(TrialFailed) as raised:
        source_of(*arguments, **named)
    assert raised.value.failure.code == "invalid_data"
    assert "some.npz" in raised.value.failure.detail
    return raised.value.failure.detail


def drawn(source, part, count=200):
    return source.sample(part, count, seeded(part, 0))


@pytest.mark.parametrize("compressed", [False, True])
def test_the_last_tenth_is_held_out_where_the_file_says_nothing_else(datasets, compressed):
    source = source_of(datasets, vectors(), compressed=compressed)
    training, _ = drawn(source, "training")
    held_out, _ = drawn(source, "validation", 2)
    assert set(training[:, 0].tolist()) == set(range(18))
    assert set(held_out[:, 0].tolist()) == {18, 19}


def test_validation_arrays_are_used_where_they_are_given(datasets):
    given = {f"validation_{name}": values for name, values in vectors(5).items()}
    source = source_of(datasets, vectors() | given)
    assert set(drawn(source, "training")[0][:, 0].tolist()) == set(range(20))
    assert sorted(drawn(source, "validation", 5)[0][:, 0].tolist()) == list(range(5))


def test_inputs_and_targets_stay_together(datasets):
    inputs, targets = drawn(source_of(datasets, vectors()), "training")
    assert torch.equal(inputs[:, 0].long() % 3, targets)
    assert (inputs.dtype, targets.dtype) == (torch.float32, torch.int64)


@pytest.mark.parametrize("dtype", ["<f2", ">f4", ">f8", "<f8"])
@pytest.mark.parametrize("labels", ["|u1", ">i2", ">u2", "<i4", "<u8", "|i1"])
def test_any_float_and_any_integer_will_do(datasets, dtype, labels):
    arrays = vectors()
    arrays = {"inputs": arrays["inputs"].astype(dtype), "targets": arrays["targets"].astype(labels)}
    inputs, targets = drawn(source_of(datasets, arrays), "training")
    assert torch.equal(inputs[:, 0].long() % 3, targets)


def test_safetensors_are_read_bfloat16_included(datasets):
    tensors = {"inputs": torch.arange(20.0)[:, None].repeat(1, 4).bfloat16(), "targets": torch.arange(20) % 3}
    safetensors.torch.save_file(tensors, datasets / "some.safetensors")
    inputs, targets = drawn(make_source(as_task(VECTORS), ArraysData(name="some.safetensors"), 0), "training")
    assert torch.equal(inputs[:, 0].long() % 3, targets)


def test_a_dtype_is_named_as_safetensors_have_it(datasets):
    tensors = {"inputs": torch.zeros(20, 4), "targets": torch.zeros(20).bfloat16()}
    safetensors.torch.save_file(tensors, datasets / "some.safetensors")
    with pytest.raises(TrialFailed, match="`targets` must be integers, not bfloat16"):
        make_source(as_task(VECTORS), ArraysData(name="some.safetensors"), 0)


TOKENS = numpy.tile(numpy.arange(6), (20, 1))
LABELS = numpy.zeros(20, dtype=int)

FITTING = [
    (Images(3, 4, 5, 2), numpy.zeros((20, 3, 4, 5)), LABELS),
    (CausalTokens(6, 6), TOKENS, TOKENS),
    (MaskedTokens(6, 6, 0), TOKENS, numpy.where(TOKENS == 1, TOKENS, IGNORED)),
    (ClassifiedTokens(6, 6, 2), TOKENS, LABELS),
    (TokenPairs(6, 4, 2), TOKENS, TOKENS[:, :2]),
]


@pytest.mark.parametrize(("shape", "inputs", "targets"), FITTING, ids=lambda value: type(value).__name__)
def test_every_shape_has_its_arrays(datasets, shape, inputs, targets):
    source = source_of(datasets, {"inputs": inputs, "targets": targets}, shape)
    drawn_inputs, drawn_targets = drawn(source, "training", 3)
    assert drawn_inputs.shape == (3, *inputs.shape[1:])
    assert drawn_targets.shape == (3, *targets.shape[1:])
    assert drawn_inputs.dtype == (torch.float32 if isinstance(shape, Images) else torch.int64)


def changed(**arrays):
    return vectors() | arrays


def with_value(value, where="inputs"):
    arrays = vectors()
    arrays[where][7] = value
    return arrays


MISFITS = [
    ({"targets": LABELS}, "array `inputs` is missing"),
    ({"inputs": vectors()["inputs"]}, "array `targets` is missing"),
    (changed(validation_inputs=vectors()["inputs"]), "array `validation_targets` is missing"),
    (changed(inputs=numpy.zeros((20, 5))), r"`inputs` must have the model's shape (samples, 4)"),
    (changed(inputs=numpy.zeros(20)), "`inputs` must have the model's shape"),
    (changed(inputs=numpy.float32(1)), "`inputs` must have the model's shape"),
    (changed(targets=numpy.zeros((20, 1), dtype=int)), "`targets` must have the model's shape (samples)"),
    (changed(targets=LABELS[:19]), "20 samples, but `targets` has 19"),
    (changed(inputs=numpy.zeros((20, 4), dtype="u1")), "`inputs` must be floats, not uint8"),
    (changed(inputs=numpy.zeros((20, 4), dtype=bool)), "`inputs` must be floats, not bool"),
    (changed(inputs=numpy.zeros((20, 4), dtype=complex)), "`inputs` must be floats, not complex128"),
    (changed(inputs=numpy.zeros((20, 4), dtype="U3")), "`inputs` must be floats, not <U3"),
    (changed(inputs=numpy.zeros((20, 4), dtype=[("a", "f4")])), "`inputs` must be floats, not [('a', '<f4')]"),
    (changed(targets=numpy.zeros(20)), "`targets` must be integers, not float64"),
    (changed(targets=numpy.zeros(20, dtype=">f2")), "`targets` must be integers, not float16"),
    (changed(targets=numpy.zeros(20, dtype=bool)), "`targets` must be integers, not bool"),
    (changed(targets=numpy.eye(3, dtype="u1")[LABELS]), "`targets` has a value for each class"),
    (with_value(numpy.nan), "`inputs` contains a NaN"),
    (with_value(numpy.inf), "`inputs` contains a NaN or an infinity"),
    (changed(inputs=numpy.full((20, 4), 1e300)), "`inputs` contains a NaN or an infinity"),
    (with_value(3, "targets"), "`targets` has labels from 0 to 3; the model's number of classes is 3"),
    (with_value(-1, "targets"), "`targets` has labels from -1"),
    (with_value(IGNORED, "targets"), "`targets` has labels from -100"),
    (changed(targets=numpy.full(20, 2**63, dtype=numpy.uint64)), "`targets` contains 9223372036854775808"),
    ({"inputs": numpy.zeros((0, 4)), "targets": LABELS[:0]}, "0 samples"),
    ({"inputs": numpy.zeros((1, 4)), "targets": LABELS[:1]}, "one sample"),
    (vectors() | {f"validation_{k}": v for k, v in vectors(9, classes=4).items()}, "`validation_targets` has labels"),
]


@pytest.mark.parametrize(("arrays", "words"), MISFITS, ids=[words for _, words in MISFITS])
def test_what_does_not_fit_the_model_is_refused_by_its_name(datasets, arrays, words):
    assert words in refused(datasets, arrays)


@pytest.mark.parametrize(
    ("inputs", "targets", "words"),
    [
        (TOKENS + 1, TOKENS, "`inputs` has token ids from 1 to 6; the model's vocab_size is 6"),
        (TOKENS - 1, TOKENS, "`inputs` has token ids from -1"),
        (TOKENS * 1.0, TOKENS, "`inputs` must be integers"),
        (TOKENS, TOKENS + 1, "`targets` has token ids from 1 to 6"),
        (TOKENS, numpy.full((20, 6), IGNORED), "`targets` has a sample with nothing to predict"),
    ],
)
def test_token_ids_are_in_the_vocabulary(datasets, inputs, targets, words):
    assert words in refused(datasets, {"inputs": inputs, "targets": targets}, CausalTokens(6, 6))


class Bomb:
    """Unpickled, it would end the test."""

    def __reduce__(self):
        return pytest.fail, ("unpickled",)


def entry(header, body=b""):
    """An array in `.npy` whose header says what it likes."""
    text = header.encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + body


def npz(datasets, **entries):
    with zipfile.ZipFile(datasets / "some.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in entries.items():
            archive.writestr(f"{name}.npy", body)
    return read(datasets)


def read(datasets, name="some.npz", **bounds):
    with (datasets / name).open("rb") as file, pytest.raises(TrialFailed) as raised:
        read_arrays(file, name, ("inputs", "targets"), **bounds)
    assert raised.value.failure.code == "invalid_data"
    return raised.value.failure.detail


def test_objects_are_refused_and_nothing_is_unpickled(datasets):
    numpy.savez(datasets / "some.npz", inputs=numpy.array([Bomb()], dtype=object), targets=LABELS)
    assert "Python objects in `inputs`" in read(datasets)
    (datasets / "pickle.npz").write_bytes(pickle.dumps(Bomb()))
    assert "cannot be parsed" in read(datasets, "pickle.npz")


def test_what_unpacks_to_too_much_is_refused_unread(datasets, monkeypatch):
    numpy.savez_compressed(datasets / "some.npz", inputs=numpy.zeros((10_000, 100)), targets=LABELS)
    assert (datasets / "some.npz").stat().st_size < 100_000
    monkeypatch.setattr(zipfile.ZipFile, "open", pytest.fail)
    assert "unpacks to 8,000,4" in read(datasets, max_bytes=1_000_000)


def test_a_zip_that_hides_how_much_it_unpacks_to_gives_no_more(datasets):
    npz(datasets, inputs=b"\0" * 100_000)
    packed = bytearray((datasets / "some.npz").read_bytes())
    for header, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        place = packed.index(header) + offset
        assert packed[place : place + 4] == struct.pack("<I", 100_000)
        packed[place : place + 4] = struct.pack("<I", 100)
    (datasets / "some.npz").write_bytes(packed)
    assert "cannot be parsed" in read(datasets, max_bytes=1000)


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, -1)}",
        "{'descr': '|O', 'fortran_order': False, 'shape': (1,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}",
        "{'descr': '<f4'}",
        "__import__('os').abort()",
        "(" * 5000,
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}" + " " * 20_000,
    ],
    ids=lambda header: header[:60],
)
def test_a_header_that_does_not_fit_is_refused_before_numpy_makes_room(datasets, header, monkeypatch):
    monkeypatch.setattr(array_files.numpy, "load", pytest.fail)
    npz(datasets, inputs=entry(header, b"\0" * 4))


def test_two_entries_of_one_name_are_refused(datasets):
    with zipfile.ZipFile(datasets / "some.npz", "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        for _ in range(2):
            archive.writestr("inputs.npy", entry("{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", b"\0" * 4))
    assert "duplicate entries" in read(datasets)


@pytest.mark.parametrize("body", [b"", b"x" * 100, b"PK\x03\x04", b"PK\x05\x06" + b"\0" * 18], ids=repr)
@pytest.mark.parametrize("name", ["some.npz", "some.safetensors"])
def test_what_is_no_such_file_is_refused(datasets, name, body):
    (datasets / name).write_bytes(body)
    if (name, body[:4]) == ("some.npz", b"PK\x05\x06"):  # an archive of nothing
        with pytest.raises(TrialFailed, match="array `inputs` is missing"):
            make_source(as_task(VECTORS), ArraysData(name=name), 0)
    else:
        assert name in read(datasets, name)


@pytest.mark.parametrize("end", [2**62, 1])
def test_safetensors_whose_header_does_not_fit_are_refused(datasets, end):
    header = json.dumps({"inputs": {"dtype": "F32", "shape": [end], "data_offsets": [0, 4 * end]}}).encode()
    (datasets / "some.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 3)
    assert "cannot be parsed" in read(datasets, "some.safetensors")


def test_an_encrypted_archive_is_refused(datasets):
    buffer = io.BytesIO()
    numpy.savez(buffer, inputs=LABELS)
    packed = bytearray(buffer.getvalue())
    packed[packed.index(b"PK\x03\x04") + 6] |= 1
    packed[packed.index(b"PK\x01\x02") + 8] |= 1
    (datasets / "some.npz").write_bytes(packed)
    assert "encrypted" in read(datasets)


def test_a_model_trains_on_arrays(datasets):
    generator = numpy.random.default_rng(0)
    inputs = generator.normal(size=(400, 8)).astype(numpy.float32)
    numpy.savez(datasets / "some.npz", inputs=inputs, targets=inputs[:, :4].argmax(axis=1))
    result = run_trial(
        TrialSpec(
            device="cpu",
            precision="bf16",
            block=0,
            position=0,
            model=MlpSpec(input_size=8, hidden_size=64, num_layers=1, num_classes=4),
            training=TrainingConfig(batch_size=32, steps=60, learning_rate=0.01),
            data=ArraysData(name="some.npz"),
        ),
        lambda step: None,
    )
    assert result.validation_accuracy > 0.7
    assert result.data.kind == "arrays"


@pytest.mark.parametrize("model", [MlpSpec(), ConvnetSpec(), TransformerSpec()], ids=lambda model: model.kind)
def test_arrays_of_another_model_are_refused(datasets, model):
    numpy.savez(datasets / "some.npz", **vectors())
    with pytest.raises(TrialFailed, match="`inputs` must"):
        make_data(blueprint_of(model).task, ArraysData(name="some.npz"), TrainingConfig(), 0)
