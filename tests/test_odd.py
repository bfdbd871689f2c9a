"""`odd` ranks images by how unlikely they are for the reference images; libraries that we did not write decide."""

import numpy as np
import pytest
from command_line import json_of, output_of, refusal
from pictures import write_images
from PIL import Image
from scipy.spatial.distance import mahalanobis
from sklearn.covariance import LedoitWolf

from pixelpyramids import oddness
from pixelpyramids.errors import DataError

SIZE = (48, 40)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("odd")
    reference = write_images(root / "reference", 12, SIZE)
    ranked = write_images(root / "ranked", 16, SIZE)
    for number in range(12):
        (ranked / f"{number:02d}.png").unlink()  # those of the reference
    noise = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    Image.fromarray(noise).save(ranked / "noise.png")
    Image.new("RGB", SIZE[::-1], (90, 120, 30)).save(ranked / "constant.png")
    return ranked, reference


def test_noise_and_a_constant_image_are_the_oddest(folders, capsys):
    ranked, reference = folders
    result = json_of(capsys, "odd", ranked, "--reference", reference)
    names = [image["file"].rsplit("/", 1)[1] for image in result["images"]]
    assert set(names[:2]) == {"noise.png", "constant.png"} and len(names) == 6
    z = {name: image["z"] for name, image in zip(names, result["images"], strict=True)}
    assert z["noise.png"]["octave 0"] > 3 and z["constant.png"]["octave 0"] < -3
    scored = json_of(capsys, "score", "compact", ranked)["images"]
    assert min(scored, key=lambda image: image["bits_per_dim"])["file"].endswith("constant.png")  # the likeliest
    assert result["reference"]["images"] == 12 and result["failed"] == []


def test_text_shows_the_top_images_and_their_z(folders, capsys):
    ranked, reference = folders
    lines = output_of(capsys, "odd", ranked, "--reference", reference, "--top", 2).out.splitlines()
    best = json_of(capsys, "odd", ranked, "--reference", reference, "--top", 2)["images"]
    assert len(lines) == len(best) == 2
    for line, image in zip(lines, best, strict=True):
        assert line.startswith(f"{image['score']:.2f} ") and line.endswith(image["file"])
        assert f"png {image['z']['png']:+.1f}" in line


@pytest.mark.parametrize(("count", "size"), [(10, 8), (40, 8), (300, 3)])
def test_distances_are_those_of_sklearn_and_scipy(count, size):
    draw = np.random.default_rng(count)
    known = draw.normal(3, 2, (count, size)) @ draw.normal(0, 1, (size, size))
    others = draw.normal(0, 5, (7, size))
    reference = oddness.fit(known)
    scaled = (known - known.mean(0)) / known.std(0)
    fitted = LedoitWolf(assume_centered=True).fit(scaled)
    np.testing.assert_allclose(reference.covariance, fitted.covariance_)
    inverse = np.linalg.inv(fitted.covariance_)
    expected = [mahalanobis((other - known.mean(0)) / known.std(0), np.zeros(size), inverse) for other in others]
    np.testing.assert_allclose(reference.oddness(others), expected)


def test_only_the_centre_of_a_large_image_counts():
    image = np.random.default_rng(0).integers(0, 256, (3, 300, 259))
    np.testing.assert_array_equal(oddness.centre(image), image[:, 22:278, 1:257])
    with pytest.raises(DataError, match="at least 32 x 32"):
        oddness.centre(image[:, :31])


def test_reference_images_that_are_few_or_all_alike_are_refused(tmp_path, folders, capsys):
    ranked, _ = folders
    few = write_images(tmp_path / "few", 9, SIZE)
    assert "at least 10 reference images, got 9" in refusal(capsys, "odd", ranked, "--reference", few)
    with pytest.raises(DataError, match="all alike"):
        oddness.fit(np.ones((10, 8)))
    assert "expected a folder" in refusal(capsys, "odd", ranked, "--reference", tmp_path / "missing")


def test_an_image_that_cannot_be_used_is_one_line_and_the_others_are_ranked(tmp_path, folders, capsys):
    _, reference = folders
    ranked = write_images(tmp_path / "ranked", 2, SIZE)
    (ranked / "damaged.png").write_bytes(b"no image")
    Image.new("RGB", (8, 8)).save(ranked / "small.png")
    printed = output_of(capsys, "odd", ranked, "--reference", reference, "--quiet", expected=1)
    assert len(printed.out.splitlines()) == 2
    damaged, small = printed.err.splitlines()
    assert "damaged.png" in damaged and "small.png: expected an image of at least 32 x 32" in small
