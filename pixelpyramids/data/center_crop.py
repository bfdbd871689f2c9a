"""The centre crop by which images of ImageNet and LSUN are prepared."""

from PIL import Image

from pixelpyramids.errors import DataError


def center_crop(image: Image.Image, side: int) -> Image.Image:
    """Crop a Pillow image to its middle side x side pixels. As in torchvision, offsets are rounded half to even.

    Raises DataError if a side of the image is shorter.
    """
    if min(image.size) < side:
        raise DataError(f"expected an image of at least {side}x{side} pixels to crop, got {image.height}x{image.width}")
    left, top = round((image.width - side) / 2), round((image.height - side) / 2)
    return image.crop((left, top, left + side, top + side))
