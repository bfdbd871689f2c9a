"""`archive status`: what an archive holds, and how far its compression has come."""

import re
from collections import Counter
from datetime import datetime
from typing import Any

from pixelpyramids.cli import options
from pixelpyramids.cli.archive_opening import open_archive
from pixelpyramids.cli.console import format_duration, print_json, stdout
from pixelpyramids.terminal import count_of

KINDS_SHOWN = 10


def archive_status(archive: options.Archive, json: options.Json = False) -> int:
    """Show how many images an archive holds, the bytes saved, the speed, the time left, and failures by kind."""
    from pixelpyramids.archive.rows import HAS_FAILED, State

    with open_archive(archive) as manifest:
        states = {row[0]: row[1:] for row in manifest.summarise()}
        run, todo = manifest.last_run(), manifest.count_todo()
        since = manifest.summarise("finished >= ?", (run[1],)) if run else []
        worked = manifest.work_seconds(run[1]) if run else 0.0
        kinds = Counter(_kind_of(row.error or "") for row in manifest.iterate(HAS_FAILED))
    count, before, after, pixels, seconds = states.get(State.DONE, (0, 0.0, 0.0, 0.0, 0.0))
    facts: dict[str, Any] = {
        "images": {state.value: states.get(state, (0,))[0] for state in State},
        "bytes_before": int(before),
        "bytes_after": int(after),
        "bytes_saved": int(before - after),
        "ratio": after / before if before else None,
        "megapixels": pixels / 1e6,
        "megapixels_per_second_of_work": pixels / 1e6 / seconds if seconds else None,
        "left": todo[0],
        "left_bytes": todo[1],
        "seconds_left": _seconds_left(since, todo[1], worked),
        "failures": dict(kinds.most_common()),
    }
    if run is not None:
        facts["last_run"] = {"begun": run[1], "ended": run[2]}
    if json:
        print_json(facts)
        return 0
    stdout.print(f"{count_of(count, 'image')} compressed: {int(before):,} bytes to {int(after):,}")
    if before:
        saved = f"{int(before - after):,} bytes saved ({100 * after / before:.1f} % of the sources)"
        stdout.print(f"{saved}, {pixels / 1e6:,.1f} MP, {facts['megapixels_per_second_of_work'] or 0:.2g} MP/s per job")
    others = {"waiting": "waiting", "skipped": "skipped", "failed": "failed", "other": "not recognised as images"}
    for state, words in others.items():
        if facts["images"][state]:
            stdout.print(f"{facts['images'][state]:,} {words}")
    if run is not None:
        ended = f"ended {_date(run[2])}" if run[2] else "has not ended"
        left = facts["seconds_left"]
        time_left = f", {format_duration(left)} left at that speed" if left else ""
        stdout.print(f"last run: begun {_date(run[1])}, {ended}; {count_of(todo[0], 'image')} left{time_left}")
    for kind, number in kinds.most_common(KINDS_SHOWN):
        stdout.print(f"failed: {number:,} x {kind}")
    return 0


def _kind_of(error: str) -> str:
    """An error without names and numbers of its own: what was expected, without what came."""
    what = error.partition("; ")[0].rpartition(": ")[2]
    return re.sub(r"\d[\d,.]*", "N", re.sub(r"/\S+", "…", what))[:100] or "unknown"


def _seconds_left(since: list[tuple[Any, ...]], left: int, seconds: float) -> float | None:
    """The time for the bytes that are left, if it goes on as in these seconds; None if that is unknown."""
    done = sum(row[2] for row in since if row[0] == "done")
    return seconds * left / done if done and left else None


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).isoformat(" ", "seconds")
