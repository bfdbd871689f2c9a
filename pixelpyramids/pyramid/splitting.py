"""The lossless split of an image into a fine and a coarse half, and its inverse.

`fine` holds the lines 0, 2, … of one axis and `coarse` the lines 1, 3, … (Mahajan & Roth, ICCV 2021, section 3). With
residuals, a level codes the difference of `fine` and `coarse` modulo the number of values n:
residual = (fine - coarse + shift) mod n, with shift = n / 2 for residuals centred in the range.
Everything here works on integer NumPy arrays and torch tensors.
"""

from typing import Any

from pixelpyramids.arguments import namespace_of

Array = Any  # numpy.ndarray or torch.Tensor: the package's import graph keeps torch out of this module


def split(image: Array, axis: int = -2) -> tuple[Array, Array]:
    """Split along `axis` (-2 rows, -1 columns) into (fine, coarse): the even and the odd lines, as views.

    If the count of lines is odd, fine has one more than coarse. Raises ValueError if the axis has only one line (a side
    of 1 is not split), TypeError if the image is not an array (…, H, W).
    """
    _check_axis(axis)
    _check_array(image)
    lines = image.shape[axis]
    if lines < 2:
        raise ValueError(f"expected at least 2 lines along axis {axis}, got {lines}: a side of 1 is not split")
    if axis == -2:
        return image[..., 0::2, :], image[..., 1::2, :]
    return image[..., 0::2], image[..., 1::2]


def merge(fine: Array, coarse: Array, axis: int = -2) -> Array:
    """Interleave fine and coarse along `axis`: the exact inverse of `split`.

    Raises ValueError if the two cannot come from one image: fine has as many lines as coarse, or one more, and both are
    of one type; TypeError if one is not an array (…, H, W).
    """
    _check_axis(axis)
    _check_array(fine)
    _check_array(coarse)
    if fine.dtype != coarse.dtype:
        raise ValueError(f"expected halves of one type, got fine {fine.dtype} and coarse {coarse.dtype}")
    lines, others = fine.shape[axis] + coarse.shape[axis], list(coarse.shape)
    others[axis] = fine.shape[axis]
    if fine.shape[axis] - coarse.shape[axis] not in (0, 1) or list(fine.shape) != others:
        raise ValueError(
            f"expected halves that differ at most by one more line of fine along axis {axis}, "
            f"got fine {tuple(fine.shape)} and coarse {tuple(coarse.shape)}"
        )
    others[axis] = lines
    image = namespace_of(fine, coarse).empty(tuple(others), dtype=fine.dtype, device=fine.device)
    if axis == -2:
        image[..., 0::2, :], image[..., 1::2, :] = fine, coarse
    else:
        image[..., 0::2], image[..., 1::2] = fine, coarse
    return image


def pad_coarse(coarse: Array, fine_shape: tuple[int, int]) -> Array:
    """Repeat the last row and column of coarse (…, h, w) if fine, of `fine_shape` (height, width), has one more."""
    xp = namespace_of(coarse)
    if coarse.shape[-2] < fine_shape[0]:
        coarse = xp.concat([coarse, coarse[..., -1:, :]], axis=-2)
    if coarse.shape[-1] < fine_shape[1]:
        coarse = xp.concat([coarse, coarse[..., -1:]], axis=-1)
    return coarse


def between(coarse: Array, axis: int) -> Array:
    """Twice the interpolation of fine, from coarse padded to its size: the sum of each line's two coarse neighbours.

    Fine line i lies between coarse lines i - 1 and i. The first line has only one neighbour, which counts twice. Sums
    are int64.
    """
    _check_axis(axis)
    coarse = _to_int64(coarse)
    xp = namespace_of(coarse)
    first, others = (coarse[..., :1, :], coarse[..., :-1, :]) if axis == -2 else (coarse[..., :1], coarse[..., :-1])
    return coarse + xp.concat([first, others], axis=axis)


def to_residual(fine: Array, coarse: Array, n_values: int, shift: int) -> Array:
    """(fine - coarse + shift) mod n_values, int64, for integers in [0, n_values)."""
    return (_to_int64(fine) - _to_int64(coarse) + shift) % n_values


def from_residual(residual: Array, coarse: Array, n_values: int, shift: int) -> Array:
    """(residual - shift + coarse) mod n_values, int64: the inverse of `to_residual`."""
    return (_to_int64(residual) - shift + _to_int64(coarse)) % n_values


def _to_int64(values: Array) -> Array:
    """As int64, in which sums and differences of values cannot overflow."""
    xp = namespace_of(values)
    return xp.astype(values, xp.int64)


def _check_array(image: Array) -> None:
    """Raise TypeError unless this is an array (…, H, W). A masked array is refused, because its mask would be lost."""
    if getattr(image, "ndim", 0) < 2 or hasattr(image, "mask"):
        got = tuple(image.shape) if hasattr(image, "shape") else ""
        raise TypeError(f"expected an array or a tensor (…, H, W) without a mask, got {type(image).__name__} {got}")


def _check_axis(axis: int) -> None:
    if axis not in (-2, -1):
        raise ValueError(f"expected axis -2 (rows) or -1 (columns), got {axis}")
