"""The numerical error of one training step of a leg, compared with the same step in FP64."""

from halftime.contract.strict import MaybeFloat, Output


class LayerError(Output):
    """The error of one parameter's gradient."""

    name: str
    #: RMS of (gradient - exact) / RMS of exact.
    relative_rmse: MaybeFloat
    #: Share of the squared error of all gradients together.
    share_of_error: MaybeFloat


class Numerics(Output):
    """Loss and gradient of a leg compared with FP64, at the initial weights on samples of the first batch."""

    samples: int
    #: The largest power of two, at most the scaler's initial scale, at which every gradient is finite; 1 without a
    #: scaler.
    loss_scale: float
    loss_relative_error: MaybeFloat
    #: RMS error of all gradients flattened into one vector, relative to their RMS in FP64.
    gradient_relative_rmse: MaybeFloat
    #: The share that rounding explains: the same figure for FP64 arithmetic in which the operands and results of
    #: matrix products are perturbed by at most the unit roundoff of the leg.
    explained_relative_rmse: MaybeFloat
    #: The parameters with the largest share of the error, largest first.
    worst_layers: list[LayerError]
