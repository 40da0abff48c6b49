"""Warnings about settings of the request that decide what its figures mean."""

from collections.abc import Iterator

from halftime.contract.report.trial import metrics_of
from worker.comparison.comparison_run import ComparisonRun
from worker.training.precision_facts import FACTS


def about_the_settings(measured: ComparisonRun) -> Iterator[str]:
    """Yields which settings cost every step, or some of them, time."""
    training = measured.request.config.training
    scaled = [leg.precision for leg in measured.legs if FACTS[leg.precision].uses_grad_scaler]
    if training.implementation == "foreach" and scaled:
        yield (
            f"{scaled[0]}: {training.optimizer} is not fused, so the gradient scaler waits for the device in every "
            "step. The figures include this cost, which comes from the optimizer's implementation."
        )
    loader = measured.request.config.data.loader
    if measured.device.kind == "cuda" and loader is not None and not loader.pin_memory:
        yield (
            "loader.pin_memory is false: the host may wait for the device in every step before it copies the batch "
            '(CUDA Runtime API, "API synchronization behavior"). Set it to true.'
        )
    for leg in measured.legs:
        compilations = [trial.compilation for trial in leg.trials if trial.compilation]
        recompiled = [one for one in compilations if one.recompiles_in_measured_steps]
        if recompiled:
            yield (
                f"{leg.precision}: torch.compile recompiled during the measured steps of {len(recompiled)} of "
                f"{len(compilations)} trials, and their times include it. Raise warmup_steps, or set compile to null."
            )


def about_the_quality(measured: ComparisonRun) -> Iterator[str]:
    """Warns if no requirement is on a metric of the trained model: then training that learns nothing may pass."""
    trials = [trial for leg in measured.legs for trial in leg.trials]
    metrics = [metric.name for metric in metrics_of(trials[0].data if trials else None)]
    wanted = measured.request.requirements.of_task(metrics)
    if wanted.max_accuracy_difference or wanted.max_loss_difference or wanted.max_metric_differences:
        return
    named = [name for name in metrics if name not in {"loss", "accuracy"}]
    further = f", or requirements.max_metric_differences ({', '.join(named)})" if named else ""
    own = "max_accuracy_difference or " if "accuracy" in metrics else ""
    yield (
        "No requirement judges what the models learned: the verdict is on speed and memory alone. Set requirements."
        f"{own}max_loss_difference{further}."
    )
