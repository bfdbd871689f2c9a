"""Check and convert the arguments of public functions. A wrong argument raises a DataError.

A whole number is anything that Python accepts as an index: `2`, `np.int32(2)`, but not `2.0` or `"2"`.
"""

import operator
from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_torch_array
from numpy.typing import NDArray

from pixelpyramids.errors import DataError


def whole_number(name: str, value: Any, least: int, most: int | None = None) -> int:
    """`value` as an int. Raises DataError if it is not a whole number from `least` to `most`."""
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if number < least or (most is not None and number > most):
        limits = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise DataError(f"expected {name} to be a whole number {limits}, got {value!r}")
    return number


def plain_array(value: Any) -> NDArray[Any]:
    """`value`, an array or a tensor, as an array in this machine's byte order.

    Raises DataError for a masked array, whose mask would be lost, and for values that NumPy cannot convert to an array.
    """
    if is_torch_array(value):
        value = value.detach().cpu()
    rows = value if isinstance(value, list | tuple) else ()
    if any(isinstance(some, np.ma.MaskedArray) for some in (value, *rows)):
        raise DataError(
            "expected an array without a mask, got a masked one; pass array.filled(VALUE), with the mask as another "
            "channel if you need it"
        )
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, RuntimeError, OverflowError) as error:
        raise DataError(f"expected an array, got {type(value).__name__}, which NumPy refuses: {error}") from error
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def namespace_of(*arrays: Any) -> Any:
    """The functions of the array API for these arrays or tensors.

    NumPy has them itself; `array_api_compat.numpy` would import all of NumPy's modules, which takes as long as NumPy.
    """
    return np if all(isinstance(array, np.ndarray) for array in arrays) else array_namespace(*arrays)


def convert_like(given: Any, result: NDArray[Any]) -> Any:
    """`result` as a tensor on the device of `given`, if `given` is a tensor; otherwise unchanged."""
    return namespace_of(given).asarray(result, device=given.device) if is_torch_array(given) else result
