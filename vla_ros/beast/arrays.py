"""The few operations of a tokenizer, written so that numpy and torch do the same ones in the same order.

Every sum is a loop of one product and one addition in double precision, and never a matrix product, whose order of
summation is the library's: so both libraries, and every processor, give the same bits and the same tokens.
Torch is not imported here: a tensor brings its own methods. (A compiler that fuses products with
additions, as `torch.compile` may on a GPU, can move a value by one rounding.)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vla_ros.core.errors import RecordError

Values = Any
"""A numpy array, a torch tensor, or for an argument anything numpy can make an array of."""


def is_tensor(values: Values) -> bool:
    """Whether `values` is a torch tensor."""
    return type(values).__module__.partition(".")[0] == "torch" or hasattr(values, "new_tensor")


def floats(values: Values, what: str, shape: tuple[int, ...]) -> Values:
    """`values` in double precision, on their device, checked.

    Args:
        values: Numbers.
        what: Their name for the error sentence.
        shape: What the last dimensions must be.

    Raises:
        RecordError: Not numbers, not of this shape, or not all finite.
    """
    try:
        array = values.double() if is_tensor(values) else np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise RecordError(f"{what} must be numbers ({error}).") from None
    if tuple(array.shape[-len(shape) :]) != shape:
        raise RecordError(f"the last dimensions of {what} must be {shape}; got shape {tuple(array.shape)}.")
    if not bool((abs(array) < np.inf).all()):
        raise RecordError(f"{what} must be finite; got NaN or infinity.")
    return array


def alike(other: Values, values: Values) -> Values:
    """`other` as the same kind of array, on the same device, as `values`; both in double precision."""
    if is_tensor(values):
        return other.to(values.device) if is_tensor(other) else values.new_tensor(other)
    return np.asarray(other)


def combine(weights: Values, values: Values) -> Values:
    """Weighted sums along the slots, each degree of freedom with weights of its own.

    Args:
        weights: Shape (K, R, D).
        values: Shape (..., K, D).

    Returns:
        Shape (..., R, D).
    """
    total = weights[0] * values[..., 0, None, :]
    for k in range(1, len(weights)):
        total = total + weights[k] * values[..., k, None, :]
    return total


def joined(first: Values, second: Values) -> Values:
    """`first` (..., A, D) and then `second` (..., B, D), shape (..., A + B, D); leading dimensions are broadcast."""
    lead = (first[..., 0, 0] + second[..., 0, 0]).shape
    whole = alike(np.zeros((*lead, first.shape[-2] + second.shape[-2], first.shape[-1])), second)
    whole[..., : first.shape[-2], :] = first
    whole[..., first.shape[-2] :, :] = second
    return whole


def whole_numbers(values: Values) -> Values:
    """Double precision to 64-bit integers."""
    return values.long() if is_tensor(values) else values.astype(np.int64)
