"""The kind `layers`: a model as a list of layers, with one small class per type of layer.

layer.py          the base class of layers, and shapes
dense.py          position-wise layers
convolution.py    convolution and pooling
normalisation.py  norms
sequence.py       embeddings, attention, recurrent networks
structure.py      residual and parallel blocks; the allow-list
spec.py           the model
"""

from halftime.contract.models.layers.spec import LayersSpec

__all__ = ["LayersSpec"]
