"""The page of `serve`: what it shows, and what its controls do."""

import tempfile
import time
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from pixelpyramids.cli.console import format_duration
from pixelpyramids.cli.report.rivals import OURS
from pixelpyramids.cli.web import tasks
from pixelpyramids.cli.web.jobs import ERROR, Jobs, Message

STYLE = Path(__file__).with_name("style.css")
MOST_WAITING = 16  # visitors; the page asks others to come back
MOST_COMPLETIONS = 6
_LARGEST_SEED = 2**31 - 1

_FONTS = ("ui-sans-serif", "system-ui", "sans-serif")
_CODE_FONTS = ("ui-monospace", "Consolas", "monospace")
THEME = gr.themes.Default(font=_FONTS, font_mono=_CODE_FONTS)

FORMATS = "PNG, TIFF, JPEG, WebP, GIF, BMP, AVIF, JPEG 2000, PPM, .npy or .ppyr"
INTRODUCTION = (
    "# PixelPyramids\n"
    "Choose an image: it is compressed without loss, and then decoded from coarse to fine. You also see where its bits go, and "
    "what detail the network draws for a coarse version of it. All of this happens on the machine that serves this page."
)


def build(folder: Path, jobs: Jobs, max_megabytes: int, max_pixels: int) -> gr.Blocks:
    """The page. Results are written below `folder`. Images of more than `max_pixels` pixels are refused."""
    limits = f"at most {max_megabytes:,} MB and {max_pixels / 1e6:,.3g} megapixels"
    with gr.Blocks(title="PixelPyramids", analytics_enabled=False) as page:
        gr.Markdown(INTRODUCTION)
        with gr.Row():
            with gr.Column():
                upload = gr.File(label=f"Image ({limits})", file_count="single", type="filepath", height=160)
                gr.Markdown(f"{FORMATS}.", elem_classes="note")
                progress = gr.HTML(_bar("no image yet", 0, 1, 0), elem_id="progress")
                cancel = gr.Button("Cancel", interactive=False, elem_id="cancel")
                sizes = gr.HTML(visible=False, elem_id="sizes")
                download = gr.DownloadButton("Download the .ppyr file", visible=False, elem_id="download")
            with gr.Column():
                picture = _picture("The decoded image", "The image, as far as it is decoded")
                caption = gr.Markdown(visible=False, elem_id="caption")
        map_picture = _picture("Where its bits go", "Maps of the bits of each pixel, over the image and by level")
        map_note = gr.Markdown(visible=False, elem_id="map_note")
        with gr.Column(visible=False) as completions:
            gr.Markdown(
                "## Draw detail\n"
                f"The middle of the image, up to {tasks.MOST_DRAWN} pixels a side, is reduced to a coarse version. From that "
                "alone, the network draws images that are likely to have it. The same seed draws the same images again."
            )
            with gr.Row():
                scale = gr.Radio([2, 4, 8], value=4, label="Reduce by")
                count = gr.Slider(1, MOST_COMPLETIONS, value=3, step=1, label="Images to draw", buttons=[])
                seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=_LARGEST_SEED)
            draw = gr.Button("Draw", variant="primary", elem_id="draw")
            gallery = gr.Gallery(
                visible=False, label="Coarse version, drawn images and original", object_fit="contain", columns=3, height="auto",
                format="png", interactive=False, buttons=["download", "fullscreen"], elem_id="gallery",
            )  # fmt: skip
            drawn_note = gr.Markdown(visible=False, elem_id="drawn_note")

        shown: dict[str, Any] = {
            "picture": picture, "caption": caption, "map": map_picture, "map_note": map_note,
            "drawn": gallery, "drawn_note": drawn_note,
        }  # fmt: skip

        def updates(messages: Iterator[Message | None], file: Path) -> Iterator[dict[Any, Any]]:
            """What changes on the page with each message of a task."""
            began, last = time.monotonic(), ("starting", 0, 1)
            yield {cancel: gr.update(interactive=True), draw: gr.update(interactive=False)}
            ended = gr.update(interactive=False), gr.update(interactive=True)
            for message in messages:
                message = message or {}
                seconds = time.monotonic() - began
                last = message.get("progress", last)
                change: dict[Any, Any] = {progress: _bar(*last, seconds)}
                change |= {
                    component: gr.update(value=_plain(message[name]), visible=True)
                    for name, component in shown.items()
                    if name in message
                }
                if "sizes" in message:
                    change[sizes] = gr.update(value=_table(message["sizes"], file.stat().st_size), visible=True)
                if "file" in message:
                    change[download] = gr.update(value=str(message["file"]), visible=True)
                    change[completions] = gr.update(visible=True)
                if ERROR in message:
                    change[progress] = _failure(message[ERROR].replace(str(file), file.name))
                    last = ("", 1, 1)
                yield change
            if last[1] < last[2]:
                yield {progress: _bar("cancelled", 0, 1, time.monotonic() - began)}
            yield dict(zip((cancel, draw), ended, strict=True))

        def new_folder() -> Path:
            return Path(tempfile.mkdtemp(dir=folder))

        def compress(name: str, request: gr.Request) -> Iterator[dict[Any, Any]]:
            yield from updates(
                jobs.run(_visitor(request), tasks.compress, Path(name), new_folder(), max_pixels), Path(name)
            )

        def complete(
            name: str | None, scale: int, count: int, seed: int | None, request: gr.Request
        ) -> Iterator[dict[Any, Any]]:
            if name is None:
                yield {progress: _failure("choose an image first")}
                return
            if seed is None or not 0 <= seed <= _LARGEST_SEED:
                yield {progress: _failure(f"expected a seed from 0 to {_LARGEST_SEED:,}, got {seed}")}
                return
            task = jobs.run(
                _visitor(request), tasks.complete, Path(name), new_folder(), max_pixels, int(scale), int(count), int(seed)
            )
            yield from updates(task, Path(name))

        def stop(request: gr.Request) -> None:
            jobs.stop(_visitor(request))

        def clear() -> dict[Any, Any]:
            hidden = {component: gr.update(value=None, visible=False) for component in (*shown.values(), sizes, download)}
            return hidden | {completions: gr.update(visible=False), progress: _bar("no image yet", 0, 1, 0)}

        everything = [progress, cancel, sizes, download, completions, draw, *shown.values()]
        work = {"outputs": everything, "concurrency_id": "work", "concurrency_limit": 1, "show_progress": "hidden"}
        aside = {"queue": False, "show_progress": "hidden"}
        upload.upload(stop, None, None, **aside).then(clear, None, everything, **aside).then(compress, upload, **work)
        upload.clear(stop, None, None, **aside).then(clear, None, everything, **aside)
        draw.click(complete, [upload, scale, count, seed], **work)
        cancel.click(stop, None, None, **aside)
        page.unload(stop)
    return page.queue(max_size=MOST_WAITING)


def _picture(label: str, description: str) -> gr.Image:
    return gr.Image(
        visible=False, label=label, alt_text=description, type="filepath", format="png", interactive=False,
        buttons=["download", "fullscreen"],
    )  # fmt: skip


def _visitor(request: gr.Request) -> str:
    return str(request.session_hash)


def _plain(value: Any) -> Any:
    """A value with paths as text, which the components expect."""
    if isinstance(value, Path):
        return str(value)
    return [(str(path), text) for path, text in value] if isinstance(value, list) else value


def _bar(text: str, done: int, of: int, seconds: float) -> str:
    taken = f", {format_duration(seconds)}" if seconds else ""
    return (
        f'<label role="status">{escape(text)}{taken}'
        f'<progress value="{done}" max="{of}">{done} of {of}</progress></label>'
    )


def _failure(text: str) -> str:
    return f'<p role="alert">{escape(text)}</p>'


def _table(sizes: list[tuple[str, int | None]], file: int) -> str:
    """The sizes beside ours, each with a bar."""
    ours = next(count for name, count in sizes if name == OURS)
    assert ours
    largest = max([count for _, count in sizes if count] + [file])
    rows = [*sizes, ("the file", file)]
    lines = [
        f"<tr><th scope='row'>{escape(name)}</th>"
        + (
            f"<td>{count:,}</td><td>{count / ours:.2f}</td>"
            f"<td><span style='width: {count / largest:.1%}'></span></td></tr>"
            if count
            else "<td colspan='3'>cannot hold this image</td></tr>"
        )
        for name, count in rows
    ]
    return (
        "<table><caption>Size without loss, and without metadata in the other formats</caption><thead><tr><th scope='col'>"
        "format</th><th scope='col'>bytes</th><th scope='col'>times .ppyr</th><th></th></tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table>"
    )
