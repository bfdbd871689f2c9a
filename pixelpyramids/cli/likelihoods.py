"""What the commands print about bits/dim: the kind of likelihood, and a warning if the figure is impossible."""

from collections.abc import Iterable

from pixelpyramids.cli.console import stderr
from pixelpyramids.terminal import count_of

LIKELIHOODS = {"exact": "exact", "authors": "the authors' clamped likelihood, not a distribution"}
"""The words for each likelihood."""

OF_CHECKPOINT = "check that n_bits and dataset_name match the checkpoint, and that it was trained on such images"
OF_BUNDLED = "the network predicts nothing in them, as in noise"


def warn_above(bits: Iterable[float], n_bits: int, explanation: str = OF_CHECKPOINT) -> str | None:
    """Print and return a warning if images need more bits/dim than a value has bits: the model does not fit them."""
    above = [needed for needed in bits if needed > n_bits]
    if not above:
        return None
    warning = (
        f"{count_of(len(above), 'image')} with more than {n_bits} bits/dim (up to {max(above):.2f}): more than "
        f"uncompressed pixels take; {explanation}"
    )
    stderr.print(f"warning: {warning}", style="bold red")
    return warning
