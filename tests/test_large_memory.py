"""Commands on an image of 48 megapixels need less memory than its pixels and their copies would take."""

import pytest

from benchmarks import large
from pixelpyramids.codec.bundled import available_threads


@pytest.mark.long
@pytest.mark.parametrize("case", ["tiff-16", "png-8"])
def test_memory_grows_with_the_threads_and_not_with_the_image(case, tmp_path):
    (size, packed), costs = large.measure(tmp_path, case, 6000, 8000)
    assert packed < size
    assert all(cost.memory < 300 + 120 * available_threads() for cost in costs)
