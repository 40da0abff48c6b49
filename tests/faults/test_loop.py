"""Faults planted in the training loop: each check passes on the real loop and fails on the faulty one."""

import inspect
import types
from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from halftime.contract.models import TransformerSpec
from halftime.contract.request.training import TrainingConfig
from halftime.plugin import IGNORED, TrainingTask
from tests.factories import data_of, request
from worker.data.batches import split
from worker.models import blueprint_of
from worker.training import loop as training
from worker.training import optimizers, schedule
from worker.training.precision import PRECISIONS, DtypeWatch

STEPS = 6


def planted(line, fault):
    """The training module with one piece of its source, or of a module it uses, replaced."""
    (faulty,) = [module for module in (training, optimizers, schedule) if line in inspect.getsource(module)]
    source = inspect.getsource(faulty)
    assert source.count(line) == 1, f"the line to replace is not there once: {line}"
    changed = module_of(source.replace(line, fault))
    if faulty is training:
        return changed
    loop = module_of(inspect.getsource(training))
    vars(loop).update({name: value for name, value in vars(changed).items() if name in vars(loop)})
    return loop


def module_of(source):
    module = types.ModuleType("planted")
    exec(compile(source, "planted.py", "exec"), module.__dict__)  # noqa: S102
    return module


def prepared(loop, precision, model_spec=None, **settings):
    """A run prepared by a loop module, and its batches."""
    config = TrainingConfig(**{"batch_size": 8, "steps": STEPS, "warmup_steps": 1, "learning_rate": 0.1} | settings)
    model_spec = model_spec or request().model
    torch.manual_seed(0)
    blueprint = blueprint_of(model_spec)
    run = loop.prepare(blueprint.build(), blueprint.task, PRECISIONS[precision], config, torch.device("cpu"))
    return run, data_of(model_spec, config).training


def check_amp_legs_compute_in_half_precision(loop):
    for precision in ("bf16", "fp16"):
        run, batches = prepared(loop, precision)
        with DtypeWatch(run.model) as watch:
            loop.training_step(run, batches[0])
        assert watch.seen() == {"Linear": [str(PRECISIONS[precision].matmul_dtype).removeprefix("torch.")]}


def check_gradients_are_clipped_after_they_are_unscaled(loop):
    reference, batches = prepared(loop, "fp32", max_grad_norm=0.01, optimizer="sgd")
    run, _ = prepared(loop, "fp16", max_grad_norm=0.01, optimizer="sgd")
    before = [parameter.detach().clone() for parameter in run.parameters]
    expected, actual = loop.training_step(reference, batches[0]), loop.training_step(run, batches[0])
    assert float(actual.gradient_norm) == pytest.approx(float(expected.gradient_norm), rel=0.02)
    moved, wanted = (
        torch.cat([(old - new.detach()).flatten() for old, new in zip(before, owner.parameters, strict=True)]).norm()
        for owner in (run, reference)
    )
    assert float(moved) == pytest.approx(float(wanted), rel=0.02)


def check_the_schedule_advances_only_on_applied_steps(loop):
    run, batches = prepared(loop, "fp16")
    run.scaler.load_state_dict(run.scaler.state_dict() | {"scale": 2.0**40})
    steps = [loop.training_step(run, batches[index]) for index in range(STEPS)]
    skipped = sum(int(step.found_inf) for step in steps)
    assert skipped > 0
    assert int(run.learning_rate.applied_steps) == STEPS - skipped
    assert float(run.learning_rate.value) == pytest.approx(float(run.learning_rate.table[STEPS - skipped]))


def check_a_skipped_step_leaves_the_weights(loop):
    run, batches = prepared(loop, "fp16")
    run.scaler.load_state_dict(run.scaler.state_dict() | {"scale": 2.0**40})
    before = [parameter.detach().clone() for parameter in run.parameters]
    step = loop.training_step(run, batches[0])
    assert int(step.found_inf) == 1
    assert float(step.scale) < 2.0**40
    assert all(torch.equal(old, new) for old, new in zip(before, run.parameters, strict=True))


class NoSynchronisation(TorchDispatchMode):
    """Fails when a value is read from the device."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # the name that torch calls
        assert "_local_scalar_dense" not in str(func), "the loop waits for the device"
        return func(*args, **kwargs or {})


def check_nothing_in_a_step_waits_for_the_device(loop):
    for precision in ("fp32", "bf16", "fp16"):
        run, batches = prepared(loop, precision)
        with NoSynchronisation():
            loop.training_step(run, batches[0])


def check_sgd_s_momentum_is_sound_after_a_skipped_first_step(loop):
    torch.utils.deterministic.fill_uninitialized_memory = True
    torch.use_deterministic_algorithms(True)  # fills uninitialised memory with NaN
    try:
        run, batches = prepared(loop, "fp16", optimizer="sgd", learning_rate=0.001)
        run.scaler.load_state_dict(run.scaler.state_dict() | {"scale": 2.0**40})
        while int(loop.training_step(run, batches[0]).found_inf):
            pass
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(parameter.isfinite().all() for parameter in run.parameters)


def check_accumulation_gives_the_gradient_of_the_whole_batch(loop):
    whole, batches = prepared(loop, "fp32")
    parts, _ = prepared(loop, "fp32", gradient_accumulation=4)
    expected, actual = loop.training_step(whole, batches[0]), loop.training_step(parts, batches[0])
    assert float(actual.loss) == pytest.approx(float(expected.loss), rel=1e-5)
    assert float(actual.gradient_norm) == pytest.approx(float(expected.gradient_norm), rel=1e-5)


def check_accumulation_counts_every_prediction_once(loop):
    spec = TransformerSpec(vocab_size=16, hidden_size=16, num_layers=1, num_heads=2, sequence_length=8)
    tokens = torch.randint(16, (8, 8), generator=torch.Generator().manual_seed(0))
    targets = torch.where(torch.arange(8)[:, None] % 4 > torch.arange(8), tokens, IGNORED)
    targets[:, 0] = tokens[:, 0]
    whole, parts = (
        loop.training_step(prepared(loop, "fp32", spec, gradient_accumulation=count)[0], (tokens, targets))
        for count in (1, 4)
    )
    assert float(parts.loss) == pytest.approx(float(whole.loss), rel=1e-5)
    assert float(parts.gradient_norm) == pytest.approx(float(whole.gradient_norm), rel=1e-5)


def check_validation_is_in_fp32(loop):
    run, batches = prepared(loop, "bf16")
    with DtypeWatch(run.model) as watch:
        loop.validate(run.model, run.task, batches)
    assert watch.seen() == {"Linear": ["float32"]}


class Functional(TrainingTask):
    """A loss and a metric that multiply matrices themselves, outside of any module; notes their dtypes."""

    def __init__(self):
        self.of_loss, self.of_metrics = [], []

    def loss(self, model, batch):
        inputs, _ = batch
        scores = model(inputs) @ inputs.new_ones(4, 2)
        self.of_loss.append(scores.dtype)
        return scores.float().square().mean()

    def metrics(self, model, batch):
        inputs, _ = batch
        self.of_metrics.append((model(inputs) @ inputs.new_ones(4, 2)).dtype)
        return {"loss": (0.0, 1)}


def functional_run(loop):
    run, batches = prepared(loop, "bf16")
    return replace(run, task=Functional()), batches


def check_a_loss_is_under_autocast(loop):
    run, batches = functional_run(loop)
    loop.add_gradients(run, batches[0])
    assert run.task.of_loss == [torch.bfloat16]


def check_a_metric_is_in_fp32(loop):
    run, batches = functional_run(loop)
    loop.validate(run.model, run.task, batches[:1])
    assert run.task.of_metrics == [torch.float32]


def check_validation_counts_every_prediction_once(loop):
    run, batches = prepared(loop, "fp32")
    uneven = [batches[0], *split(batches[1], 1)]
    whole = [joined(batches[0], batches[1])]
    assert loop.validate(run.model, run.task, uneven).values == pytest.approx(
        loop.validate(run.model, run.task, whole).values, rel=1e-5
    )


def joined(one, other):
    return tuple(torch.cat(pair) for pair in zip(one, other, strict=True))


CLIP = "    gradient_norm = clip_gradients(run)\n"
UNSCALE = "    run.scaler.unscale_(run.optimizer)\n"

FAULTS = [
    pytest.param(
        check_amp_legs_compute_in_half_precision, "        with run.autocast:", "        if True:", id="autocast off"
    ),
    pytest.param(
        check_gradients_are_clipped_after_they_are_unscaled, UNSCALE + CLIP, CLIP + UNSCALE, id="clip before unscale"
    ),
    pytest.param(
        check_the_schedule_advances_only_on_applied_steps,
        "(1 - found_inf).to(torch.int64)",
        "torch.ones_like(self.applied_steps)",
        id="scheduler on skipped steps",
    ),
    pytest.param(
        check_a_skipped_step_leaves_the_weights,
        "    run.scaler.step(run.optimizer)",
        "    run.optimizer.step()",
        id="step past the scaler",
    ),
    pytest.param(
        check_nothing_in_a_step_waits_for_the_device,
        "    run.scaler.update()\n",
        "    run.scaler.update()\n    loss.item()\n",
        id="a sync in the loop",
    ),
    pytest.param(
        check_nothing_in_a_step_waits_for_the_device,
        "    return kind(parameters, rate, _betas(settings), settings.epsilon, decay, fused=True)",
        "    return kind(parameters, float(rate), _betas(settings), settings.epsilon, decay, foreach=True)",
        id="an optimizer that makes the scaler wait",
    ),
    pytest.param(
        check_sgd_s_momentum_is_sound_after_a_skipped_first_step,
        '            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)',
        "            pass",
        id="fused SGD's momentum left uninitialised by a skipped first step",
    ),
    pytest.param(
        check_accumulation_gives_the_gradient_of_the_whole_batch,
        "run.task.loss(model, part) / (sum(predictions) / predicted)",
        "run.task.loss(model, part)",
        id="loss not divided by the micro-batches",
    ),
    pytest.param(
        check_accumulation_counts_every_prediction_once,
        "run.task.loss(model, part) / (sum(predictions) / predicted)",
        "run.task.loss(model, part) / len(parts)",
        id="a mean of the micro-batches' means",
    ),
    pytest.param(
        check_validation_is_in_fp32,
        "task.metrics(model, batch).items()",
        "torch.autocast('cpu', torch.bfloat16)(task.metrics)(model, batch).items()",
        id="validation under autocast",
    ),
    pytest.param(
        check_a_metric_is_in_fp32,
        "task.metrics(model, batch).items()",
        "torch.autocast('cpu', torch.bfloat16)(task.metrics)(model, batch).items()",
        id="a metric under autocast",
    ),
    pytest.param(
        check_a_loss_is_under_autocast,
        "run.task.loss(model, part)",
        "torch.autocast('cpu', enabled=False)(run.task.loss)(model, part)",
        id="a loss outside autocast",
    ),
    pytest.param(
        check_validation_counts_every_prediction_once,
        "            sums[name] += float(total)\n            counts[name] += float(count)\n",
        "            sums[name] += float(total) / float(count)\n            counts[name] += 1\n",
        id="a mean of the batches' means",
    ),
]


@pytest.mark.parametrize(("check", "line", "fault"), FAULTS)
def test_a_planted_fault_is_caught(check, line, fault):
    check(training)
    with pytest.raises(AssertionError):
        check(planted(line, fault))
