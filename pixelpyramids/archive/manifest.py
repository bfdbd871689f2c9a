"""The manifest of an archive: an SQLite file that says where each image came from, and what became of it.

docs/howto/archives.md describes its tables. One process writes it; others may read it at the same time. A result is
recorded only after it was written and flushed, so no file is listed that is not there.
"""

import os
import shutil
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

from pixelpyramids.archive.rows import Row, State, Todo
from pixelpyramids.errors import DataError, FullDiskError

NAME = "manifest.sqlite"
FILES = tuple(f"{NAME}{suffix}" for suffix in ("", "-journal", "-shm", "-wal"))
FORMAT = 1
_APPLICATION = 0x50505952  # "PPYR": marks the SQLite file as ours
_PAGE = 256  # rows that are read at once
_BUSY = 60.0  # seconds to wait for another process that reads or writes
_SMALLEST_ROOM = 2**18  # bytes: with less, the disk counts as full
_DAMAGED = (
    "it is damaged: move it to another folder (it may still tell names and times), and run `compress` again, which "
    "finds the results that exist, or `decompress`, which needs no manifest"
)
# What SQLite says if something around the file is wrong, and not the file itself
_SURROUNDINGS = {
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_NOMEM,
}
_SCHEMA = """
CREATE TABLE archive (
    identity TEXT NOT NULL
);
INSERT INTO archive VALUES (lower(hex(randomblob(16))));
CREATE TABLE sources (
    id INTEGER PRIMARY KEY,
    address TEXT NOT NULL UNIQUE
);
CREATE TABLE images (
    id INTEGER PRIMARY KEY,
    source INTEGER NOT NULL REFERENCES sources,
    name TEXT NOT NULL,
    size INTEGER,
    time INTEGER,
    sha256 TEXT,
    pixels_sha256 TEXT,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'done', 'skipped', 'failed', 'other')),
    error TEXT,
    result TEXT,
    result_size INTEGER,
    result_sha256 TEXT,
    model TEXT,
    pixels INTEGER,
    seconds REAL,
    finished REAL,
    verified REAL,
    run INTEGER NOT NULL,
    todo TEXT,
    UNIQUE (source, name)
);
CREATE INDEX images_result ON images (result);
CREATE INDEX images_todo ON images (todo, id) WHERE todo IS NOT NULL;
CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    begun REAL NOT NULL,
    ended REAL
);
CREATE TABLE verifications (
    id INTEGER PRIMARY KEY,
    begun REAL NOT NULL,
    ended REAL,
    share REAL NOT NULL
);
"""

_TYPES = tuple(Row.__annotations__.values())
_COLUMNS = "images.id, address, " + ", ".join(f"images.{name}" for name in Row._fields[2:])
_ROWS = f"SELECT {_COLUMNS} FROM images JOIN sources ON sources.id = images.source"


class ManifestError(DataError):
    """A manifest that is damaged, or that cannot be read or written."""


class DamagedManifestError(ManifestError):
    """A file that is no manifest, or that holds what this module does not write."""


class Manifest:
    """An open manifest.

    Its methods raise ManifestError, which names the file, if it is damaged or cannot be used, FullDiskError if there is
    no room for it, and DataError if it is missing or of a newer version.
    """

    def __init__(self, path: Path, read_only: bool = False, untouched: bool = False) -> None:
        """Open or create it. If it is `untouched` while it is read, SQLite writes no companions beside it."""
        self.path, self._copy = path, ExitStack()
        self._unwritten: Sequence[Any] = ()
        if read_only and not path.is_file():
            raise missing(path.parent)
        with self._report_errors():
            if read_only and (untouched or not os.access(path.parent, os.W_OK)):
                self._open_untouched()
            else:
                try:
                    self._connect(path, read_only)
                except sqlite3.OperationalError as error:
                    if not read_only or not self._is_full(error):
                        raise
                    self._open_untouched()  # there is no room for companions
        self._file = _identify(path)

    @classmethod
    def temporary(cls, path: Path) -> Self:
        """A temporary copy of the manifest at `path`, or of an empty one if there is none. Raises its errors."""
        copy = cls(Path(""))
        copy.path = path  # for messages
        if path.exists():
            with cls(path, read_only=True, untouched=True) as manifest, copy._report_errors():
                manifest._database.backup(copy._database)
                manifest._expect_unwritten()
        return copy

    def expect_in_place(self) -> None:
        """Raise ManifestError if its folder was moved, deleted or unmounted: what is written now lies elsewhere."""
        if _identify(self.path) != self._file:
            raise ManifestError(
                f"{self.path}: is no longer the manifest that was opened; put the archive back in its place, and run "
                "the same command again"
            )

    def copy_to(self, path: Path) -> None:
        """Write a consistent copy to a new file, while others may write to this one."""
        with self._report_errors(), closing(sqlite3.connect(path)) as copy:
            self._database.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")  # one file, without companions

    def _open_untouched(self) -> None:
        """Open it to read, without writing anything beside it."""
        log, index = (self.path.with_name(f"{self.path.name}-{end}") for end in ("wal", "shm"))
        if _has_bytes(log) and _has_bytes(index):  # of a process that writes now, or that was killed
            with suppress(sqlite3.OperationalError):  # the index cannot be written
                return self._connect(self.path, True)
        self._unwritten = self._times()
        if not _has_bytes(log):
            return self._connect(self.path, True, "?immutable=1")
        folder = Path(self._copy.enter_context(TemporaryDirectory()))
        for each in (self.path, log):
            shutil.copyfile(each, folder / each.name)
        self._expect_unwritten()
        self._unwritten = ()
        return self._connect(folder / self.path.name, True)

    def _times(self) -> Sequence[Any]:
        """What changes when the manifest is written."""
        return [_facts(self.path.with_name(f"{self.path.name}{end}")) for end in ("", "-wal")]

    def _expect_unwritten(self) -> None:
        """Raise ManifestError if the manifest is read without locks, and was written meanwhile."""
        if self._unwritten and self._times() != self._unwritten:
            raise ManifestError(f"{self.path}: was written while it was being read; run the command again")

    def _connect(self, path: Path, read_only: bool, options: str = "") -> None:
        name = path.absolute().as_uri() + options if path.name else ""
        # With isolation_level None, the module itself begins no transaction.
        self._database = sqlite3.connect(name, timeout=_BUSY, isolation_level=None, uri=True)
        try:
            self._prepare(read_only)
        except BaseException:
            self._database.close()
            raise

    def _prepare(self, read_only: bool) -> None:
        if read_only:
            self._database.execute("PRAGMA query_only = ON")
        else:
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
        (mark,), (version,), (tables,) = (
            self._database.execute(query).fetchone()
            for query in ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_master")
        )
        if not tables and not read_only:
            with self._transaction():
                for statement in _SCHEMA.split(";"):
                    self._database.execute(statement)
                self._database.execute(f"PRAGMA application_id = {_APPLICATION}")
                self._database.execute(f"PRAGMA user_version = {FORMAT}")
        elif mark != _APPLICATION:
            raise DamagedManifestError(
                f"{self.path}: expected the manifest of an archive, got another file; move it away"
            )
        elif version != FORMAT:
            raise DataError(
                f"{self.path}: expected a manifest of version {FORMAT}, got version {version}; use a newer "
                "pixelpyramids"
            )
        else:
            self._expect_sound()

    def _expect_sound(self) -> None:
        """Raise DamagedManifestError if SQLite finds damage, or tables that this module did not make.

        A row that damage has taken out of a table would otherwise be an image that is silently left out.
        """
        made = {row[0] for row in self._database.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}
        if made != {statement.strip() for statement in _SCHEMA.split(";") if statement.strip().startswith("CREATE")}:
            raise self._damaged("its tables are others")
        (found,) = self._database.execute("PRAGMA integrity_check(1)").fetchone()
        if found != "ok":
            raise self._damaged(found.strip().splitlines()[-1])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()
        self._copy.close()

    @contextmanager
    def _report_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if self._is_full(error):
                raise FullDiskError(f"{self.path}: no space is left for the manifest; free some space") from error
            if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF in _SURROUNDINGS:
                advice = "check its permissions and the disk, and that no other program holds it"
                raise ManifestError(f"{self.path}: the manifest cannot be used ({error}); {advice}") from error
            raise self._damaged(str(error)) from error

    def _is_full(self, error: sqlite3.Error) -> bool:
        """Whether the disk is full. Of the memory that SQLite maps (-shm), it says only that it cannot be written."""
        kind = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if kind in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN):
            try:
                return shutil.disk_usage(self.path.parent).free < _SMALLEST_ROOM
            except OSError:
                return False
        return kind == sqlite3.SQLITE_FULL

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._report_errors():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                if self._database.in_transaction:  # SQLite itself ends it if the disk is full
                    self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    def _query(self, query: str, parameters: Sequence[Any] = ()) -> list[Any]:
        with self._report_errors(), closing(self._database.execute(query, parameters)) as cursor:
            rows = cursor.fetchall()
        self._expect_unwritten()
        return rows

    def begin_run(self) -> int:
        """Record that a run begins, forget what earlier runs had left to do, and return the number of the run."""
        with self._transaction():
            self._database.execute("UPDATE images SET todo = NULL WHERE todo IS NOT NULL")
            number = self._database.execute("INSERT INTO runs (begun) VALUES (?)", (time.time(),)).lastrowid
        assert number is not None
        return number

    def end_run(self, number: int) -> None:
        """Record that a run has ended."""
        with self._transaction():
            self._database.execute("UPDATE runs SET ended = ? WHERE id = ?", (time.time(), number))

    def source_number(self, address: str) -> int:
        """The number of a source, which is recorded if it is new."""
        with self._transaction():
            self._database.execute("INSERT OR IGNORE INTO sources (address) VALUES (?)", (_stored(address),))
        (row,) = self._query("SELECT id FROM sources WHERE address = ?", (_stored(address),))
        return int(row[0])

    def find(self, source: int, names: Sequence[str]) -> dict[str, Row]:
        """The images of a source that have one of the names."""
        marks = ",".join("?" * len(names))
        query = f"{_ROWS} WHERE images.source = ? AND images.name IN ({marks})"
        return {row.name: row for row in map(self._row, self._query(query, (source, *map(_stored, names))))}

    def find_results(self, results: Sequence[str]) -> list[Row]:
        """The images with one of the results that are not skipped."""
        marks = ",".join("?" * len(results))
        query = f"{_ROWS} WHERE result IN ({marks}) AND state != 'skipped'"
        return [self._row(row) for row in self._query(query, [*map(_stored, results)])]

    def _row(self, values: Sequence[Any]) -> Row:
        """A row. Raises DamagedManifestError if it has values that this class does not write."""
        row = Row._make(os.fsdecode(value) if isinstance(value, bytes) else value for value in values)
        try:
            row = row._replace(state=State(row.state), todo=row.todo and Todo(row.todo))
        except ValueError:
            raise self._damaged(f"row {row.id} of its images") from None
        has_result = row.state == State.DONE or row.result_sha256 is not None or row.todo is not None
        is_sound = all(map(isinstance, row, _TYPES)) and not (has_result and row.result is None)
        if not is_sound or "\0" in f"{row.address}{row.name}{row.result}":
            raise self._damaged(f"row {row.id} of its images")
        return row

    def _expect_numbers(self, table: str, values: Sequence[Any]) -> None:
        """Raise DamagedManifestError unless some values of a table are numbers, or missing."""
        if not all(value is None or isinstance(value, int | float) for value in values):
            raise self._damaged(f"the table {table}")

    def _damaged(self, what: str) -> DamagedManifestError:
        return DamagedManifestError(f"{self.path}: the manifest cannot be used ({what}); {_DAMAGED}")

    def set_listed(self, source: int, run: int, entries: Iterable[dict[str, Any]]) -> None:
        """Record the images that a run has found in a source.

        Each entry gives the columns `name`, `size`, `time`, `state`, `error`, `result` and `todo`.
        """
        ids = {"source": source, "run": run}
        statement = (
            "INSERT INTO images (source, run, name, size, time, state, error, result, todo) "
            "VALUES (:source, :run, :name, :size, :time, :state, :error, :result, :todo) "
            "ON CONFLICT (source, name) DO UPDATE SET run = :run, size = :size, time = :time, state = :state, "
            "error = :error, result = :result, todo = :todo"
        )
        with self._transaction():
            self._database.executemany(
                statement, ({key: _stored(value) for key, value in entry.items()} | ids for entry in entries)
            )

    def move_to(self, source: int, number: int) -> None:
        """Give an image to another source, because its folder was moved or renamed."""
        with self._transaction():
            self._database.execute("UPDATE OR REPLACE images SET source = ? WHERE id = ?", (source, number))

    def forget_missing(self, source: int, run: int) -> None:
        """Remove the images of a source that are no longer there, and have no result."""
        with self._transaction():
            self._database.execute(
                "DELETE FROM images WHERE source = ? AND run != ? AND state != 'done' AND result_sha256 IS NULL",
                (source, run),
            )

    def count_todo(self) -> tuple[int, int]:
        """How many images the run has to do, and their bytes."""
        ((count, size),) = self._query("SELECT count(*), total(size) FROM images WHERE todo IS NOT NULL")
        return int(count), int(size)

    def iterate(self, condition: str, parameters: Sequence[Any] = ()) -> Iterator[Row]:
        """The rows that meet a condition (SQL), in the order of their numbers, a few at a time.

        Rows may change meanwhile; each is returned at most once.
        """
        last = 0
        while True:
            query = f"{_ROWS} WHERE ({condition}) AND images.id > ? ORDER BY images.id LIMIT {_PAGE}"
            rows = [self._row(row) for row in self._query(query, (*parameters, last))]
            yield from rows
            if len(rows) < _PAGE:
                return
            last = rows[-1].id

    def record(self, updates: Sequence[tuple[int, dict[str, Any]]]) -> None:
        """Set columns of images, by their numbers. All of it is written, or nothing."""
        with self._transaction():
            for number, columns in updates:
                settings = ", ".join(f"{name} = :{name}" for name in columns)
                values = {name: _stored(value) for name, value in columns.items()}
                self._database.execute(f"UPDATE images SET {settings} WHERE id = :id", values | {"id": number})

    def begin_verification(self, share: float) -> tuple[int, float, bool]:
        """Begin to verify a share of the results, or go on with what was interrupted.

        Returns its number, when it began, and whether it goes on.
        """
        rows = self._query("SELECT id, begun FROM verifications WHERE ended IS NULL AND share = ?", (share,))
        if rows:
            self._expect_numbers("verifications", rows[0])
            return rows[0][0], rows[0][1], True
        begun = time.time()
        with self._transaction():
            self._database.execute("UPDATE verifications SET ended = ? WHERE ended IS NULL", (begun,))
            cursor = self._database.execute("INSERT INTO verifications (begun, share) VALUES (?, ?)", (begun, share))
        assert cursor.lastrowid is not None
        return cursor.lastrowid, begun, False

    def end_verification(self, number: int) -> None:
        """Record that a verification has ended."""
        with self._transaction():
            self._database.execute("UPDATE verifications SET ended = ? WHERE id = ?", (time.time(), number))

    def count(self, condition: str) -> int:
        """How many images meet a condition (SQL)."""
        ((count,),) = self._query(f"SELECT count(*) FROM images WHERE {condition}")
        return int(count)

    def summarise(self, condition: str = "1", parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """For each state: its images, their bytes, the results' bytes, their pixels, and seconds of work."""
        return self._query(
            "SELECT state, count(*), total(size), total(result_size), total(pixels), total(seconds) FROM images "
            f"WHERE {condition} GROUP BY state",
            parameters,
        )

    def work_seconds(self, since: float) -> float:
        """The seconds between the first and the last image that was finished since then."""
        ((seconds,),) = self._query("SELECT max(finished) - min(finished) FROM images WHERE finished >= ?", (since,))
        return float(seconds or 0)

    def identity(self) -> str:
        """What tells this archive from all others."""
        ((identity,),) = self._query("SELECT identity FROM archive")
        return str(identity)

    def version(self) -> tuple[float, int, int]:
        """Grows with each run and verification: when the last of them began, and the number of each."""
        rows = self._query(
            "SELECT max(run_begun, verification_begun), run, verification FROM "
            "(SELECT coalesce(max(id), 0) AS run, coalesce(max(begun), 0) AS run_begun FROM runs), (SELECT "
            "coalesce(max(id), 0) AS verification, coalesce(max(begun), 0) AS verification_begun FROM verifications)"
        )
        version: tuple[float, int, int] = rows[0]
        self._expect_numbers("runs or verifications", version)
        return version

    def last_run(self) -> tuple[int, float, float | None] | None:
        """The number of the last run, when it began, and when it ended (None if it did not)."""
        rows = self._query("SELECT id, begun, ended FROM runs ORDER BY id DESC LIMIT 1")
        if not rows:
            return None
        self._expect_numbers("runs", rows[0])
        number, begun, ended = rows[0]
        return number, begun or 0.0, ended


def missing(archive: Path | str) -> DataError:
    """The error for a folder that has no manifest."""
    return DataError(f"{archive}: expected an archive, with its {NAME}; `pixelpyramids compress … --out` makes one")


def _has_bytes(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def _identify(path: Path) -> tuple[int, int] | None:
    """What tells a file from any other, also after it was moved; None if there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _facts(path: Path) -> tuple[int, int, int]:
    """The number, size and time of a file, which change when it is written; zeros if it is missing or empty."""
    try:
        status = path.stat()
    except OSError:
        return (0, 0, 0)
    return (status.st_ino, status.st_size, status.st_mtime_ns) if status.st_size else (0, 0, 0)


def _stored(value: Any) -> Any:
    """A value as SQLite stores it: text, or bytes for a name that is not UTF-8."""
    if not isinstance(value, str) or value.isascii():
        return value
    data = os.fsencode(value)
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data
