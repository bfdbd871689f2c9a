"""`archive verify`: check that the results of an archive are what was compressed."""

import time
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from pixelpyramids.cli import options
from pixelpyramids.errors import ParameterError

if TYPE_CHECKING:
    from pixelpyramids.archive.manifest import Manifest

_SPREAD = 2654435761  # an odd number near 2**32 / the golden ratio: its multiples modulo 2**32 are evenly spread


def archive_verify(
    archive: options.Archive,
    sample: Annotated[
        str,
        typer.Option(metavar="PERCENT", help="Verify only this share of the images, chosen at random, such as 1%."),
    ] = "100%",
    jobs: options.ArchiveJobs = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> int:
    """Decode every result of an archive, and compare the SHA-256 of its pixels with that in the manifest.

    Run the command again to resume it. If a result is damaged or missing, its image becomes failed, the exit status is
    1, and the next `compress` writes the result again.
    """
    from pixelpyramids.archive import examining
    from pixelpyramids.archive.addresses import absolute
    from pixelpyramids.archive.jobs import LocalEngine
    from pixelpyramids.archive.manifest_opening import open_existing_for_writing
    from pixelpyramids.archive.rows import HAS_RESULT
    from pixelpyramids.cli.archive_report import ArchiveReport
    from pixelpyramids.cli.console import live_line, print_json, stderr, stdout
    from pixelpyramids.codec.bundled import available_threads
    from pixelpyramids.terminal import count_of

    share = _parse_share(sample)
    address, at_once = absolute(archive), jobs or available_threads()
    with open_existing_for_writing(address) as manifest, live_line(quiet, passing=True) as show:
        number, condition, goes_on = _begin(manifest, share)
        total = manifest.count(condition)
        if goes_on and not total:  # only the record of its end was missing
            manifest.end_verification(number)
            number, condition, goes_on = _begin(manifest, share)
            total = manifest.count(condition)
        if goes_on and not quiet:
            stderr.print(f"goes on with the verification that was interrupted: {count_of(total, 'image')} left")
        elif not (goes_on or total) and manifest.count(HAS_RESULT):
            stderr.print(f"the sample of {sample} has none of the archive's images in it; pass a larger --sample")
        report = ArchiveReport("", show, quiet, False)
        report.begin(total, 0)
        work = partial(examining.verify_image, archive=address)
        for row, result in examining.verify_archive(manifest, work, condition, LocalEngine(at_once)):
            report.take(f"{address}/{row.result}", result, False)
        manifest.end_verification(number)
    report.raise_fault()
    counts = report.counts
    if json:
        print_json({"verified": counts["done"], "failed": counts["failed"], "of": total})
    elif not quiet:
        failed = f"; {counts['failed']:,} failed" if counts["failed"] else ""
        sound = f"{count_of(counts['done'], 'image')} verified: each decodes to the pixels that were compressed"
        stdout.print(f"{sound}{failed}")
    return 1 if report.has_failed else 0


def _begin(manifest: "Manifest", share: float) -> tuple[int, str, bool]:
    """Begin or resume a verification: its number, the condition for what is left (SQL), and whether it goes on."""
    from pixelpyramids.archive.rows import HAS_RESULT

    number, begun, goes_on = manifest.begin_verification(share)
    now = time.time()  # a clock that was ahead may have given later times
    chosen = f"(images.id * {_SPREAD} + {number} * {round(share * 2**32)}) % 4294967296 < {round(share * 2**32)}"
    condition = f"{HAS_RESULT} AND {chosen} AND (verified IS NULL OR verified < {begun!r} OR verified > {now!r})"
    return number, condition, goes_on


def _parse_share(text: str) -> float:
    """A share from 0 to 1. Raises ParameterError if the text is not a percentage above 0 and up to 100."""
    try:
        share = float(text.removesuffix("%")) / 100
    except ValueError:
        share = 0.0
    if not text.endswith("%") or not 0 < share <= 1:
        raise ParameterError(f"expected --sample with a percentage above 0, such as 1%, got {text[:20]}")
    return share
