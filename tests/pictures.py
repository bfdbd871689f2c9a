"""Small pictures in files."""

import errno
import io
import os

import numpy as np
from command_line import status
from PIL import Image


def pixels(seed=0, shape=(20, 30, 3)):
    """A smooth picture."""
    rng = np.random.default_rng(seed)
    smooth = rng.normal(0, 8, shape).cumsum(0).cumsum(1) / 3
    return np.clip(smooth + 128, 0, 255).astype(np.uint8)


def save(path, seed=0, **options):
    """Write the picture of a seed to a file, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(seed)).save(path, **options)
    os.utime(path, ns=(10**18, 10**18 + 123_456_789))
    return path


def write_images(folder, count=12, size=(24, 16)):
    """Fill a folder with smooth pictures of that size; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.fromarray(pixels(number, (*size, 3))).save(folder / f"{number:02d}.png")
    return folder


def write_compressed(folder):
    """The .ppyr file of a picture with a profile; both are alone in a folder."""
    source = save(folder / "small.png", icc_profile=b"no real profile")
    assert status("compress", source) == 0
    return source.with_suffix(".ppyr")


def encode(image, format="PNG", **options):
    """The file that Pillow writes for an image or an array."""
    file = io.BytesIO()
    if not isinstance(image, Image.Image):
        image = Image.fromarray(image[..., 0] if image.shape[2:] == (1,) else image)
    image.save(file, format, **options)
    return file.getvalue()


def close_folder(monkeypatch, closed):
    """Have the system refuse to list a folder, as for a user without the right."""
    scandir = os.scandir

    def guarded(folder):
        if str(folder) == str(closed):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", guarded)


def same(path, expected):
    with Image.open(path) as image:
        return np.array_equal(np.asarray(image), expected)


def contents(folder):
    """The files below a folder by their names, without locks, which are empty, and manifests."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")
    files = (path for path in found if not path.name.startswith("manifest.sqlite"))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def files(root):
    return sorted(contents(root))
