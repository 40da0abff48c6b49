"""Builds architectures of the `transformers` library, with random weights and without downloads.

| file | what it does |
| --- | --- |
| `library.py` | loads the library, and turns its exceptions into failures of the model |
| `rejections.py` | says at which field an architecture cannot be built, and what to change |
| `needs.py` | what an architecture requires of its config, and the likely fault of one that does not run |
| `settings.py` | which settings of a request reach the library |
| `config.py` | creates the config of an architecture |
| `sizes.py` | finds the shape of the data in a config |
| `rehearsal.py` | runs a model without data or memory, before anything is trained |
| `module.py` | the torch module of tasks trained by cross-entropy, and what each gives to the library |
| `own_loss.py` | the tasks whose loss the library's models compute themselves |
| `fp32_loss.py` | the library's loss in FP32 for a model that is held in BF16 |

Dropout stays as configured: training is seeded, and the comparison with FP64 disables it for its one step
(`worker/proof/numerics.py`).
"""

from functools import partial

from halftime.contract.models import TransformersSpec
from halftime.plugin import Blueprint
from worker.models.transformers.config import make_config
from worker.models.transformers.module import AUTO_CLASSES, TransformersModel
from worker.models.transformers.own_loss import TASKS, own_loss_blueprint
from worker.models.transformers.rehearsal import find_padding
from worker.models.transformers.sizes import data_shape

__all__ = ["AUTO_CLASSES", "TransformersModel", "transformers_blueprint"]


def transformers_blueprint(spec: TransformersSpec) -> Blueprint:
    """Returns the blueprint of a spec. Raises TrialFailed (`invalid_model`) naming the field that is not accepted."""
    config = make_config(spec)
    if spec.trained_task in TASKS:
        return own_loss_blueprint(spec, config)
    shape = data_shape(spec, config)
    padding = find_padding(spec, config, shape)
    return Blueprint(shape, partial(TransformersModel, spec.trained_task, config, shape, padding))
