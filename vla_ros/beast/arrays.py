"""The array operations of the tokenizer, for numpy arrays and torch tensors alike.

Every sum is a loop of one product and one addition in double precision, never a matrix product, whose order of
summation depends on the library. Both libraries and every processor therefore give the same bits and the same tokens.
Torch is not imported here: a tensor brings its own methods. (A compiler that fuses products with additions, as
`torch.compile` may on a GPU, can change a value by one rounding.)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vla_ros.core.errors import RecordError

Values = Any
"""A numpy array or a torch tensor; as an argument also anything that numpy converts to an array."""


def is_tensor(values: Values) -> bool:
    """Whether `values` is a torch tensor."""
    return type(values).__module__.partition(".")[0] == "torch" or hasattr(values, "new_tensor")


def as_float64(values: Values, what: str, shape: tuple[int, ...]) -> Values:
    """Check numbers and convert them to double precision, on the device they are on.

    Args:
        values: Numbers.
        what: Their name in the error text.
        shape: What the last dimensions must be.

    Returns:
        A tensor for a tensor, else a numpy array.

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


def as_type_of(reference: Values, values: Values) -> Values:
    """`values` as the same kind of array, on the same device, as `reference`; both in double precision."""
    if is_tensor(reference):
        return values.to(reference.device) if is_tensor(values) else reference.new_tensor(values)
    return np.asarray(values)


def weighted_sums(weights: Values, values: Values) -> Values:
    """Weighted sums over the second-last dimension, with separate weights for each degree of freedom.

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


def concatenate(first: Values, second: Values) -> Values:
    """`first` (..., A, D) followed by `second` (..., B, D), shape (..., A + B, D); leading dimensions are broadcast."""
    lead = (first[..., 0, 0] + second[..., 0, 0]).shape
    result = as_type_of(second, np.zeros((*lead, first.shape[-2] + second.shape[-2], first.shape[-1])))
    result[..., : first.shape[-2], :] = first
    result[..., first.shape[-2] :, :] = second
    return result


def as_int64(values: Values) -> Values:
    """Double precision to 64-bit integers."""
    return values.long() if is_tensor(values) else values.astype(np.int64)
