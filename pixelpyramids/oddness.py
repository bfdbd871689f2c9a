"""How unlikely an image is for a set of reference images, whatever its complexity.

Bits/dim alone is no measure of it: simple images are likely under a model of complex ones (Nalisnick et al. 2019, "Do
deep generative models know what they don't know?"), and most of what bits/dim measures is complexity, which a plain
codec measures too (Serrà et al. 2020, "Input complexity and out-of-distribution detection"). So an image is described
by the logarithms of its bits/dim in the finest octaves, their differences, and of its bits/dim as a PNG. Its oddness is
the Mahalanobis distance of this description x from those of the reference images,

    sqrt(z' C^-1 z),  z = (x - mean) / deviation,

where C is the covariance of their z, shrunk towards a multiple of the identity as far as Ledoit & Wolf (2004, "A
well-conditioned estimator for large-dimensional covariance matrices") derive from the data.
"""

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pixelpyramids.errors import DataError
from pixelpyramids.pyramid.rate import Rate, bits_per_dim

OCTAVES = 4  # the finest ones
SMALLEST = 32  # pixels a side: then each of these octaves has pixels
LARGEST = 256  # pixels a side: of larger images, the centre
FEWEST = 10  # reference images
NAMES = (
    *(f"octave {octave}" for octave in range(OCTAVES)),
    *(f"octave {octave + 1} - {octave}" for octave in range(OCTAVES - 1)),
    "png",
)
"""The features of an image, in order."""

_LEAST_BITS = 0.001  # bits/dim: a constant image has almost none
_LEAST_DEVIATION = 0.001  # of a logarithm: rounding is no difference between images

Vector = NDArray[np.float64]


def centre(image: NDArray[np.integer]) -> NDArray[np.integer]:
    """The centre of an image (C, H, W), at most 256 x 256. Raises DataError if a side has less than 32 pixels."""
    height, width = image.shape[-2:]
    if min(height, width) < SMALLEST:
        raise DataError(f"expected an image of at least {SMALLEST} x {SMALLEST} pixels, got {height} x {width}")
    top, left = max(height - LARGEST, 0) // 2, max(width - LARGEST, 0) // 2
    return image[:, top : top + LARGEST, left : left + LARGEST]


def png_bits_per_dim(image: NDArray[np.integer]) -> float:
    """Bits/dim of an 8-bit image (C, H, W), C 1 or 3, as a PNG file."""
    file = io.BytesIO()
    pixels = np.ascontiguousarray(image.transpose(1, 2, 0), dtype=np.uint8)
    Image.fromarray(pixels[..., 0] if len(image) == 1 else pixels).save(file, "PNG")
    return 8 * file.tell() / image.size


def features(rate: Rate, png: float) -> Vector:
    """The features of one image, as `NAMES`: of the rate of a batch of 1, and of its bits/dim as a PNG."""
    of_octaves = bits_per_dim(rate.nats[0, :OCTAVES], rate.dimensions[0, :OCTAVES])
    logs = np.log(np.maximum(of_octaves, _LEAST_BITS))
    return np.array([*logs, *np.diff(logs), np.log(png)])


@dataclass(frozen=True, eq=False)
class Reference:
    """The reference images: mean and standard deviation (F,) of their features, and the covariance (F, F) of their z.

    The covariance is shrunk, so that it has an inverse.
    """

    mean: Vector
    deviation: Vector
    covariance: Vector

    def z(self, images: Vector) -> Vector:
        """The features (N, F) of images, in standard deviations of the reference images from their mean."""
        result: Vector = (images - self.mean) / self.deviation
        return result

    def oddness(self, images: Vector) -> Vector:
        """The Mahalanobis distance (N,) of images with the features (N, F): 0 is the most ordinary image."""
        z = self.z(images)
        result: Vector = np.sqrt(np.sum(z * np.linalg.solve(self.covariance, z.T).T, axis=1))
        return result


def fit(images: Vector) -> Reference:
    """The reference of images with the features (N, F). Raises DataError if they are fewer than 10, or all alike."""
    if len(images) < FEWEST:
        raise DataError(f"expected at least {FEWEST} reference images, got {len(images)}; add more to the folder")
    deviation = images.std(axis=0)
    if np.all(deviation < _LEAST_DEVIATION):
        raise DataError("expected reference images that differ, got images that are all alike; add others")
    reference = Reference(images.mean(axis=0), np.maximum(deviation, _LEAST_DEVIATION), np.eye(images.shape[1]))
    return Reference(reference.mean, reference.deviation, shrunk_covariance(reference.z(images)))


def shrunk_covariance(samples: Vector) -> Vector:
    """The covariance (F, F) of samples (N, F) of mean 0, shrunk after Ledoit & Wolf (2004), lemma 3.2 to 3.4."""
    count, size = samples.shape
    covariance = samples.T @ samples / count
    target = np.trace(covariance) / size * np.eye(size)
    distance = np.sum((covariance - target) ** 2)
    error = np.sum((samples**2).sum(axis=1) ** 2) / count**2 - np.sum(covariance**2) / count
    weight = min(error / distance, 1.0) if distance > 0 else 1.0
    result: Vector = weight * target + (1 - weight) * covariance
    return result
