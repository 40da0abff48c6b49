"""How far one training step of a leg is from the same step in FP64."""

from halftime.contract.strict import MaybeFloat, Output


class LayerError(Output):
    """One parameter's gradient."""

    name: str
    #: RMS of (gradient - exact) over RMS of exact.
    relative_rmse: MaybeFloat
    #: Of the squared error of all gradients together.
    share_of_error: MaybeFloat


class Numerics(Output):
    """Loss and gradient of a leg against FP64, from the initial weights on samples of the first batch."""

    samples: int
    #: The largest power of two, from the scaler's initial scale down, at which every gradient is finite; 1 without one.
    loss_scale: float
    loss_relative_error: MaybeFloat
    #: Of all gradients flattened into one vector.
    gradient_relative_rmse: MaybeFloat
    #: What rounding explains: the same figure of FP64 arithmetic whose matrix products have their operands and
    #: results disturbed by at most the unit roundoff of the leg.
    explained_relative_rmse: MaybeFloat
    #: Those with the largest share of the error, largest first.
    worst_layers: list[LayerError]
