"""The kind `layers`: a model as a list, one small class for every layer on offer.

layer.py          what a layer is, and the shape between two
dense.py          position-wise layers
convolution.py    convolution and pooling
normalisation.py  norms
sequence.py       embeddings, attention, recurrent networks
structure.py      residual and parallel blocks; the allow-list
spec.py           the model
"""

from halftime.contract.models.layers.spec import LayersSpec

__all__ = ["LayersSpec"]
