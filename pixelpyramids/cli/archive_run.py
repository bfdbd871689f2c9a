"""`compress --out`: open the archive and its sources, and run."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

from pixelpyramids.archive import archive_folder
from pixelpyramids.archive.addresses import absolute, is_remote, list_sources, open_list, open_store
from pixelpyramids.archive.archiving import Archiver
from pixelpyramids.archive.examining import AGAIN
from pixelpyramids.archive.file_tasks import Compression, describe_check
from pixelpyramids.archive.jobs import Engine, LocalEngine
from pixelpyramids.archive.manifest import Manifest
from pixelpyramids.archive.manifest_opening import open_for_writing, open_temporary
from pixelpyramids.archive.planning import Plan
from pixelpyramids.archive.work import Settings
from pixelpyramids.cli.archive_report import ArchiveReport
from pixelpyramids.cli.console import live_line, print_json, stderr, stdout
from pixelpyramids.cli.sources import IMAGE_SUFFIXES, compressed_name
from pixelpyramids.codec.bundled import available_threads
from pixelpyramids.errors import FullDiskError, ParameterError
from pixelpyramids.image_files.listing import is_hidden


@dataclass(frozen=True)
class ArchiveOptions:
    """The options of `compress` that only archives have, and those of its output."""

    jobs: int | None
    engine: str
    address: str | None
    update: bool
    check_hash: bool
    from_list: str | None
    include: Sequence[str]
    exclude: Sequence[str]
    quiet: bool
    json: bool


def compress_archive(paths: Sequence[str], out: str, how: Compression, options: ArchiveOptions) -> int:
    """Compress everything at some addresses into an archive. Returns the exit status."""
    address = absolute(out)
    with nullcontext() if options.from_list is None else open_list(options.from_list) as listed:
        sources = list_sources(paths, options.exclude, address, listed)
        kept = [source.address for source, _ in sources if not source.can_delete]
        if how.delete_source and kept:
            raise ParameterError(f"--delete-source cannot delete files within {kept[0]}; leave it out")
        with _open_manifest(address, how.dry_run) as (opened, begun):
            settings = Settings(address, begun, how, options.update)
            include = [pattern.rstrip("/") for pattern in options.include]
            plan = Plan(_is_image, compressed_name, include, settings, options.check_hash)
            shared = [source.address for source, _ in sources if not source.is_sequential]
            with (
                _open_engine(options, shared, "" if how.dry_run else address) as engine,
                live_line(options.quiet, passing=True) as show,
            ):
                report = ArchiveReport(
                    describe_check(how), show, options.quiet, how.dry_run, keep_failures=options.json
                )
                run = Archiver(opened, open_store(address, begun), plan, engine, report)
                stopped = ""
                try:
                    run.run(sources)
                except FullDiskError as error:
                    stopped = str(error)
            if options.json:
                print_json(report.json(opened, run.number))
            elif not options.quiet:
                if how.dry_run:
                    for row in opened.iterate("run = ? AND state = 'waiting'", (run.number,)):
                        stdout.print(f"{row.source_path} -> {address}/{row.result}")
                stdout.print(report.summary())
    report.raise_fault()
    if stopped:
        stderr.print(f"{stopped}; {AGAIN}")
    return 1 if stopped or report.has_failed else 0


@contextmanager
def _open_manifest(address: str, dry_run: bool) -> Iterator[tuple[Manifest, int]]:
    """The manifest, and the time of the archive's file system. A dry run gets a copy that is thrown away."""
    if dry_run:
        with open_temporary(address) as copy:
            yield copy, 0
        return
    with open_for_writing(address) as opened:
        yield opened, 0 if is_remote(address) else archive_folder.clock_of(Path(address))


@contextmanager
def _open_engine(options: ArchiveOptions, sources: Sequence[str], archive: str) -> Iterator[Engine]:
    """The engine. All its machines must have the sources and the archive ("" if nothing is written)."""
    if options.engine == "local":
        yield LocalEngine(options.jobs or available_threads())
        return
    from pixelpyramids.archive import ray_engine

    is_folder = bool(archive) and not is_remote(archive)
    with archive_folder.mark(Path(archive)) if is_folder else nullcontext("") as mark:
        paths = [path for path in (*sources, mark) if path and not is_remote(path)]
        requirements = ray_engine.Requirements.of_this_machine(paths)
        with ray_engine.open_cluster(options.address, requirements, attrgetter("size"), options.jobs) as engine:
            yield engine


def _is_image(name: str) -> bool:
    return not is_hidden(name) and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES
