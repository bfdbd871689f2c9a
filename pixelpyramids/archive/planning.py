"""List the sources of an archive, and decide what to do with each file.

A source is listed completely before the work begins, so that images which would share a result are found.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

from pixelpyramids.archive.addresses import open_source
from pixelpyramids.archive.containers import is_container
from pixelpyramids.archive.jobs import Done
from pixelpyramids.archive.manifest import FILES, Manifest
from pixelpyramids.archive.rows import Row, State, Todo
from pixelpyramids.archive.sources import Entry, Source
from pixelpyramids.archive.stores import Store
from pixelpyramids.archive.work import CHANGED, Settings, hash_file
from pixelpyramids.errors import DataError, PixelPyramidsError
from pixelpyramids.image_files import opening
from pixelpyramids.image_files.listing import is_excluded
from pixelpyramids.terminal import explain

_LISTED_AT_ONCE = 500
_LOSSY_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".avif")

T = TypeVar("T")


class Report(Protocol):
    """Shows what happens."""

    def listed(self, count: int) -> None:
        """So many files were found until now."""

    def begin(self, count: int, size: int) -> None:
        """The work begins, on so many images of so many bytes."""

    def take(self, name: str, result: Done | Exception, is_named: bool) -> None:
        """An image is finished, skipped, or has failed."""

    def others(self, names: Sequence[str]) -> None:
        """Some files are not recognised as images."""


@dataclass(frozen=True)
class Plan:
    """What `compress` was told: which files are images, the names of their results, and what to do with known ones."""

    is_image: Callable[[str], bool]
    rename: Callable[[str], str]
    include: Sequence[str]
    settings: Settings
    check_hash: bool


class _Known(NamedTuple):
    """The columns of a row that the listing sets."""

    name: str
    size: int | None
    time: int | None
    state: State
    error: str | None
    result: str | None
    todo: Todo | None


class Listing:
    """The listing of the sources in one run. `has_images` says whether there was any image."""

    def __init__(self, manifest: Manifest, store: Store, plan: Plan, report: Report, run: int) -> None:
        self._manifest, self._store, self._plan, self._report, self._run = manifest, store, plan, report, run
        self._how = plan.settings.compression
        self.named = set[str]()
        self.has_images = False

    def add(self, source: Source, number: int, prefix: str) -> None:
        """List a source, whose results go to the folder `prefix`. Raises DataError or OSError if that fails."""
        count = 0
        for entries in _in_batches(source.entries(), _LISTED_AT_ONCE):
            known = self._manifest.find(number, [entry.name for entry in entries])
            batch: dict[str, _Known] = {}
            for entry in entries:
                if self._plan.include and not is_excluded(entry.name, self._plan.include):
                    continue
                old = known.get(entry.name)
                if entry.name in batch or (old is not None and old.run == self._run):
                    if source.is_sequential:  # which of the two counts is not clear
                        problem = "its name is twice in the file; unpack the file, and compress the folder"
                        batch[entry.name] = self._decide(source, entry._replace(problem=problem), old, prefix)
                    continue
                batch[entry.name] = self._decide(source, entry, old, prefix)
            self._settle(source, number, prefix, batch)
            self._manifest.set_listed(number, self._run, [each._asdict() for each in batch.values()])
            count += len(entries)
            self._report.listed(count)
        if source.is_complete and not self._plan.include:
            self._manifest.forget_missing(number, self._run)

    def _decide(self, source: Source, entry: Entry, old: Row | None, prefix: str) -> _Known:
        """What is known of a file, and what to do with it."""
        name = source.describe(entry.name)
        if source.is_named:
            self.named.add(name)
        is_new = old is None or old.state in (State.WAITING, State.FAILED, State.OTHER)
        has_result = old is not None and old.result_sha256 is not None
        if entry.problem:
            self.has_images = True
            self._report.take(name, DataError(entry.problem), False)
            if old is not None and not is_new:
                return _Known(old.name, old.size, old.time, old.state, old.error, old.result, None)
            failed = _Known(entry.name, None, None, State.FAILED, entry.problem, None, None)
            if old is None or not has_result:
                return failed
            return failed._replace(size=old.size, time=old.time, result=old.result)
        if source.is_complete and not self._plan.is_image(entry.name) and not has_result:
            self._report.others([name])
            return _Known(entry.name, entry.size, entry.time, State.OTHER, None, None, None)
        self.has_images = True
        if old is None or is_new:
            if old is not None and has_result:  # but it is damaged or missing
                return _Known(entry.name, old.size, old.time, State.WAITING, None, old.result, Todo.REPLACE)
            result = prefix + self._plan.rename(entry.name.lstrip("/"))
            if result.partition("/")[0] in FILES:
                problem = "its result would take the place of a file of the manifest; rename its folder"
                return self._decide(source, entry._replace(problem=problem), old, prefix)
            return _Known(entry.name, entry.size, entry.time, State.WAITING, None, result, Todo.NEW)
        return self._decide_known(name, entry, old)

    def _decide_known(self, name: str, entry: Entry, old: Row) -> _Known:
        """What to do with an image that was compressed or skipped before."""
        done = _Known(old.name, old.size, old.time, State.DONE, None, old.result, None)
        waiting = done._replace(state=State.WAITING)  # size and time stay those of the file that was compressed
        is_same = (entry.size, entry.time) == (old.size, old.time)
        if old.state == State.SKIPPED:
            if not is_same or self._how.force:
                return waiting._replace(size=entry.size, time=entry.time, todo=Todo.NEW)
            self._report.take(name, Done(skipped=old.error or ""), name in self.named)
            return done._replace(state=State.SKIPPED, error=old.error)
        assert old.result is not None
        if self._how.overwrite:
            return done._replace(todo=Todo.REPLACE)
        try:
            there = self._store.find(old.result) if self._store.is_quick else None
        except (DataError, OSError) as error:
            self._report.take(name, error, False)
            return done._replace(error=explain(error, name))
        if self._store.is_quick and (there is None or there.size != old.result_size):
            return waiting._replace(todo=Todo.NEW if there is None else Todo.REPLACE)
        was_changed = (old.error or "").endswith(CHANGED)  # which may show in its content alone
        if (self._plan.check_hash or (is_same and was_changed)) and not self._how.delete_source:
            return done._replace(todo=Todo.CHECK)
        if not is_same and not self._plan.settings.update:
            self._report.take(name, DataError(f"{name}: {CHANGED}"), False)
            return done._replace(error=CHANGED)
        if not is_same:
            return done._replace(todo=Todo.REPLACE)
        if self._how.delete_source:
            return done._replace(todo=Todo.DELETE)
        self._report.take(name, Done(entry.size, is_there=True), False)
        return done

    def _settle(self, source: Source, number: int, prefix: str, batch: dict[str, _Known]) -> None:
        """Refuse images that would be written to one file, and recognise those of a source that has moved."""
        new = {each.name: each for each in batch.values() if each.todo and each.state == State.WAITING and each.result}
        claims: dict[str, list[Row | _Known]] = {}
        for row in self._manifest.find_results([known.result for known in new.values() if known.result]):
            is_own = row.address == source.address and row.name in new and new[row.name].result == row.result
            if not is_own and (row.result_sha256 is not None or row.run == self._run):
                claims.setdefault(row.result or "", []).append(row)
        for known in new.values():
            assert known.result is not None
            others = claims.setdefault(known.result, [])
            moved = next((row for row in others if isinstance(row, Row) and _has_moved(row, source, known)), None)
            if moved is not None:
                self._manifest.move_to(number, moved.id)
                others.remove(moved)
                row = self._manifest.find(number, [known.name])[known.name]
                entry = Entry(known.name, known.size or 0, known.time or 0)
                batch[known.name] = self._decide(source, entry, row, prefix)
                continue
            if others and not self._is_skipped(source, known.name):
                rivals = [other for other in others if not self._is_skipped_claim(source, other)]
                if rivals:
                    self._refuse(source, batch, known, rivals)
            others.append(known)

    def _refuse(
        self, source: Source, batch: dict[str, _Known], known: _Known, rivals: Sequence["Row | _Known"]
    ) -> None:
        """Let an image fail, and those of its rivals that are not compressed yet."""
        assert known.result is not None
        target = self._store.describe(known.result)
        named = [
            (each, each.source_path if isinstance(each, Row) else source.describe(each.name))
            for each in (known, *rivals)
        ]
        for each, name in named:
            is_refused = isinstance(each, _Known) and batch[each.name].state == State.FAILED
            if is_refused or each.state != State.WAITING or each.todo is None:
                continue
            others = ", ".join(other for _, other in named if other != name)
            reason = (
                f"{name}: it would be written to {target}, and so would {others}; rename one of them, or write them to "
                "different archives (--out)"
            )
            self._report.take(name, DataError(reason), False)
            if isinstance(each, Row):
                self._manifest.record([(each.id, {"state": State.FAILED, "error": reason, "todo": None})])
            else:
                batch[each.name] = each._replace(state=State.FAILED, error=reason, todo=None)

    def _is_skipped_claim(self, source: Source, claim: "Row | _Known") -> bool:
        if not isinstance(claim, Row):
            return self._is_skipped(source, claim.name)
        return claim.result_sha256 is None and self._is_skipped(open_source(claim.address), claim.name)

    def _is_skipped(self, source: Source, name: str) -> bool:
        """Whether an image will be skipped because it is lossy already."""
        if self._how.force:
            return False
        if is_container(source.address):  # its files cannot be opened one by one
            return name.lower().endswith(_LOSSY_SUFFIXES)
        try:
            with source.open(name) as file:
                return opening.open(file).is_lossy
        except (PixelPyramidsError, OSError):  # reported when the image is compressed
            return False


def _has_moved(row: Row, source: Source, known: _Known) -> bool:
    """Whether a compressed image now lies in another source: the same path and bytes, and no longer where it was."""
    if row.result_sha256 is None or row.address == source.address or row.name != known.name:
        return False
    if (row.size, row.time) != (known.size, known.time) or not known.time:
        return False
    if is_container(row.address) or is_container(source.address):  # whether one is gone is not known
        return False
    try:
        open_source(row.address).open(row.name).close()
        return False
    except FileNotFoundError:
        pass
    except (OSError, PixelPyramidsError):
        return False
    try:
        with source.open(known.name) as file:
            return hash_file(file) == row.sha256
    except (OSError, PixelPyramidsError):  # reported when the image is compressed
        return False


def _in_batches(items: Iterable[T], count: int) -> Iterator[list[T]]:
    """The items in lists of at most `count`. If the iterator fails, the last list comes before the error."""
    batch: list[T] = []
    try:
        for item in items:
            batch.append(item)
            if len(batch) == count:
                yield batch
                batch = []
    except Exception:
        yield batch
        raise
    yield batch
