"""Commands on an image of 48 megapixels need far less memory than its pixels take."""

import pytest

from benchmarks import large


@pytest.mark.long
@pytest.mark.parametrize("case", ["tiff-16", "png-8"])
def test_memory_does_not_grow_with_the_image(case, tmp_path):
    """Two threads need about 300 MiB. The decoded image, its octaves and two copies would need 700 with 16 bits."""
    (size, packed), costs = large.measure(tmp_path, case, 6000, 8000)
    assert packed < size
    assert all(memory < 600 for _, memory in costs)
