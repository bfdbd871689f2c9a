"""Compress sources into an archive: list what there is, decide what to do with it, do it, and record it.

The sources are listed completely before the work begins, so that images which would share a result are found, and the
time left can be told. Everything that is known of an image is a row of the manifest; memory does not grow with them.
"""

from collections.abc import Container, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from pixelpyramids.archive.addresses import open_source
from pixelpyramids.archive.jobs import Engine
from pixelpyramids.archive.manifest import Manifest, ManifestError
from pixelpyramids.archive.pending import Pending
from pixelpyramids.archive.planning import Listing, Plan, Report
from pixelpyramids.archive.rows import Row, State
from pixelpyramids.archive.sources import Source
from pixelpyramids.archive.stores import Store, WrittenMeanwhileError
from pixelpyramids.archive.work import ChangedError, Finished, Work, compress_image
from pixelpyramids.errors import DataError, FullDiskError, PixelPyramidsError, is_full_disk
from pixelpyramids.terminal import explain

LARGE = 2**24  # bytes of a file from which on an image is compressed by all processors together


class Archiver:
    """One run of `compress` into an archive."""

    def __init__(self, manifest: Manifest, store: Store, plan: Plan, engine: Engine, report: Report) -> None:
        self._manifest, self._store, self._plan, self._engine, self._report = manifest, store, plan, engine, report
        self._named: Container[str] = ()
        self._pending = Pending(manifest)
        self._flushed: list[str] = []
        self._deletable: list[tuple[Row, dict[str, Any]]] = []
        self.number = 0

    def run(self, sources: Sequence[tuple[Source, str]]) -> None:
        """Compress the sources, each into its folder of the archive.

        Raises DataError if there is no image at all, and FullDiskError if there is no room for more results.
        """
        last = self._manifest.last_run()
        if last is not None and last[2] is None and not self._plan.settings.compression.dry_run:
            self._store.remove_temporary_files()  # that run was killed, or its tasks on a cluster were
        self.number = self._manifest.begin_run()
        listing = Listing(self._manifest, self._store, self._plan, self._report, self.number)
        self._named = listing.named
        numbers = {source.address: self._manifest.source_number(source.address) for source, _ in sources}
        are_listed = True
        for source, prefix in sources:
            try:
                listing.add(source, numbers[source.address], prefix)
            except (ManifestError, FullDiskError):
                raise
            except (PixelPyramidsError, OSError) as error:  # what was listed is compressed
                self._report.take(source.address, error, False)
                are_listed = False
        if are_listed and not listing.has_images and not self._manifest.summarise("state != 'other'"):
            addresses = ", ".join(source.address for source, _ in sources)
            raise DataError(
                f"{addresses}: expected images, got none; check the path, and --include and --exclude; hidden files do "
                "not count"
            )
        self._report.begin(*self._manifest.count_todo())
        try:
            for work, result in self._results([source for source, _ in sources], numbers):
                self._take(work.row, result)
        finally:
            self._record()
        self._manifest.end_run(self.number)

    def _results(
        self, sources: Sequence[Source], numbers: dict[str, int]
    ) -> Iterator[tuple[Work, Finished | Exception]]:
        """Compress what there is to do: first large images, one by one, then small ones side by side."""
        in_order = [source for source in sources if source.is_sequential]
        marks = ",".join(str(numbers[source.address]) for source in in_order)
        direct = f"todo IS NOT NULL AND images.source NOT IN ({marks})"
        large = (Work(row) for row in self._manifest.iterate(f"{direct} AND size >= ?", (LARGE,)))
        small = (Work(row) for row in self._manifest.iterate(f"{direct} AND size < ?", (LARGE,)))
        yield from self._compress(large, is_large=True)
        yield from self._compress(small)
        for source in in_order:
            if not self._manifest.count(f"todo IS NOT NULL AND source = {numbers[source.address]}"):
                continue
            yield from self._compress(self._read_in_order(source, numbers[source.address]))

    def _read_in_order(self, source: Source, number: int) -> Iterator[Work]:
        row: Row | None = None

        def is_wanted(name: str) -> bool:
            nonlocal row
            row = self._manifest.find(number, [name]).get(name)
            return row is not None and row.todo is not None

        contents = source.contents(is_wanted)
        while True:
            try:
                entry, content = next(contents)
            except StopIteration:
                return
            except (ManifestError, FullDiskError):
                raise
            except (PixelPyramidsError, OSError) as error:  # the images before the damage are compressed
                self._report.take(source.address, error, False)
                return
            assert row is not None
            if isinstance(content, DataError):
                self._take(row, content)
            else:
                yield Work(row, content, entry.time)

    def _compress(self, todo: Iterable[Work], is_large: bool = False) -> Iterator[tuple[Work, Finished | Exception]]:
        return self._engine(partial(compress_image, settings=self._plan.settings), todo, is_large)

    def _take(self, row: Row, result: Finished | Exception) -> None:
        """Note a result. What is noted is recorded together with others, at least once a second."""
        name = row.source_path
        if isinstance(result, Exception):
            if is_full_disk(result):
                raise FullDiskError(explain(result)) from result  # it names the file, or the folder of temporary files
            reason = explain(result, name)
            # If it was compressed before, its former result is still there, unless another program replaced it.
            keeps_result = row.state == State.DONE and not isinstance(result, WrittenMeanwhileError)
            state = State.DONE if keeps_result or isinstance(result, ChangedError) else State.FAILED
            self._pending.add(row.id, {"state": state, "error": reason, "todo": None})
            self._report.take(name, result, False)
        else:
            self._pending.add(row.id, result.columns)
            if result.columns.get("state") == State.DONE and row.result:
                self._flushed.append(row.result)
            if result.delete:
                self._deletable.append((row, result.columns))
            self._report.take(name, result.done, name in self._named)
        if self._pending.is_due:
            self._record()

    def _record(self) -> None:
        """Record what was noted, after it is safe on the disk; then delete sources, if that was requested.

        Raises ManifestError if the archive is no longer in its place.
        """
        if not self._plan.settings.compression.dry_run:
            self._manifest.expect_in_place()
            self._store.flush(self._flushed)
        self._pending.record()
        self._flushed = []
        while self._deletable:
            row, columns = self._deletable.pop()
            try:
                open_source(row.address).delete(row.name, columns["size"], columns["time"])
            except (OSError, PixelPyramidsError) as error:
                self._report.take(row.source_path, error, False)
