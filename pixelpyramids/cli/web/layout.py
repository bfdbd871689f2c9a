"""The page of `serve`: what it shows, and what its controls do."""

import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from pixelpyramids.cli.complete import SCALES
from pixelpyramids.cli.web import markup, tasks
from pixelpyramids.cli.web.jobs import ERROR, PROGRESS, Jobs, Message

STYLE = Path(__file__).with_name("style.css")
THEME = gr.themes.Default(
    font=("ui-sans-serif", "system-ui", "sans-serif"), font_mono=("ui-monospace", "Consolas", "monospace")
)  # fonts of the system, because others come from the network

MOST_DRAWN = 6  # images at once
LARGEST_SEED = 2**31 - 1
LEAVING = 5  # seconds in which the last request of a visitor who leaves may begin
SWEEP, KEPT = 3600, 86_400  # seconds between two looks for uploads that are too old, and their age

FORMATS = "PNG, TIFF, JPEG, WebP, GIF, BMP, AVIF, JPEG 2000, PPM, .npy or .ppyr."
INTRODUCTION = """
# PixelPyramids

Choose an image. It is compressed without loss and then decoded, from coarse to fine. Below, you see where its bits go,
and the network can draw new detail for a coarse version of it. The image stays on the machine that serves this page.
"""
COMPLETIONS = f"""
## Draw new detail

The middle of the image, at most {tasks.MOST_DRAWN} pixels a side, is made smaller: a coarse version. The network then
draws new images that all reduce to this coarse version. Fewer bits/dim means that the network finds an image likelier.
The same seed draws the same images.
"""

Changes = dict[Any, Any]
"""New values or properties of components."""


class Controls(NamedTuple):
    """What shows how far a kind of work is, and stops it."""

    progress: gr.HTML
    duration: gr.HTML
    cancel: gr.Button


class Page:
    """The components of the page, and the functions behind them."""

    def __init__(self, folder: Path, jobs: Jobs, max_megabytes: int, max_pixels: int) -> None:
        """Results are written below `folder`. Images of more than `max_pixels` pixels are refused."""
        self._folder, self._jobs, self._max_pixels = folder, jobs, max_pixels
        self._folders: dict[str, Path] = {}  # with the results of each visitor
        self._lock = threading.Lock()  # of these folders
        with gr.Blocks(title="PixelPyramids", analytics_enabled=False, delete_cache=(SWEEP, KEPT)) as self.blocks:
            self._place_components(f"at most {max_megabytes:,} MB and {max_pixels / 1e6:.3g} megapixels")
            self._connect()

    def _place_components(self, limits: str) -> None:
        gr.Markdown(INTRODUCTION)
        with gr.Row():
            with gr.Column():
                self._upload = gr.File(label=f"Image ({limits})", file_count="single", type="filepath", height=160)
                gr.Markdown(FORMATS)
                self._compressing = _controls("no image yet", "")
                self._sizes = gr.HTML(visible=False, elem_id="sizes")
                self._download = gr.DownloadButton("Download the .ppyr file", visible=False, elem_id="download")
            with gr.Column():
                picture = _picture("The image, as far as it is decoded", "picture")
                caption = gr.HTML(visible=False, elem_id="caption")
        with gr.Column(visible=False) as self._mapping:
            gr.Markdown("## Where its bits go")
            map_note = gr.HTML(visible=False, elem_id="map_note")
            map_picture = _picture("Maps of the bits of each pixel, over the image and by level", "map")
        with gr.Column(visible=False) as self._completing:
            gr.Markdown(COMPLETIONS)
            with gr.Row():
                self._scale = gr.Radio(list(SCALES), value=4, label="Make smaller by a factor of")
                self._count = gr.Slider(1, MOST_DRAWN, value=3, step=1, label="Images to draw", buttons=[])
                self._seed = gr.Number(0, label="Seed")
            self._draw = gr.Button("Draw", variant="primary", elem_id="draw")
            self._drawing = _controls("nothing drawn yet", "drawing_")
            drawn_note = gr.HTML(visible=False, elem_id="drawn_note")
            drawn = gr.Gallery(
                visible=False,
                show_label=False,
                columns=3,
                height="max-content",
                object_fit="contain",
                format="png",
                interactive=False,
                buttons=["download", "fullscreen"],
                elem_id="drawn",
            )
        self._pictures = {"picture": picture, "map": map_picture, "drawn": drawn}
        self._texts = {"caption": caption, "map_note": map_note, "drawn_note": drawn_note}
        """Components by the names that messages have for them."""

    def _connect(self) -> None:
        """Connect the controls with the functions. `Jobs` lets one visitor work at a time."""
        results = [*self._pictures.values(), *self._texts.values(), self._sizes, self._download]
        changed = [*results, *self._compressing, *self._drawing, self._draw, self._mapping, self._completing]
        at_once: dict[str, Any] = {"queue": False, "show_progress": "hidden"}
        work: dict[str, Any] = {"concurrency_limit": None, "show_progress": "hidden", "trigger_mode": "multiple"}
        uploaded = self._upload.upload(self._compress, self._upload, changed, **work)
        drawn = self._draw.click(self._complete, [self._upload, self._scale, self._count, self._seed], changed, **work)
        self._upload.clear(self._clear, None, changed, cancels=[uploaded, drawn], **at_once)
        for controls in (self._compressing, self._drawing):
            controls.cancel.click(self._cancelling(controls), None, changed, **at_once)
        self.blocks.unload(self._leave)

    def _compress(self, name: str | None, request: gr.Request) -> Iterator[Changes]:
        visitor = _visitor(request)
        self._forget(visitor)
        if name is None:
            return
        file = Path(name)
        with self._jobs.entered(visitor) as job:
            yield self._at_first()
            messages = self._jobs.run(job, tasks.compress, self._new_folder(visitor), file, self._max_pixels)
            yield from self._changes(self._compressing, file, messages)

    def _complete(
        self, name: str | None, scale: int, count: int, seed: float | None, request: gr.Request
    ) -> Iterator[Changes]:
        if name is None or seed is None or not 0 <= seed <= LARGEST_SEED or seed != int(seed):
            text = f"choose an image, and a whole number from 0 to {LARGEST_SEED:,} as seed"
            yield {self._drawing.progress: markup.failure(text)}
            return
        file, visitor = Path(name), _visitor(request)
        with self._jobs.entered(visitor) as job:
            yield {self._pictures["drawn"]: _HIDDEN, self._texts["drawn_note"]: _HIDDEN}
            arguments = self._new_folder(visitor), file, self._max_pixels, int(scale), int(count), int(seed)
            yield from self._changes(self._drawing, file, self._jobs.run(job, tasks.complete, *arguments))

    def _cancelling(self, controls: Controls) -> Callable[[gr.Request], Changes]:
        def cancel(request: gr.Request) -> Changes:
            self._jobs.stop(_visitor(request))
            return {**_at_rest(controls, "cancelled"), self._draw: gr.update(interactive=True)}

        return cancel

    def _clear(self, request: gr.Request) -> Changes:
        self._forget(_visitor(request))
        return self._at_first()

    def _leave(self, request: gr.Request) -> None:
        """Forget a visitor who has left, and what began while this happened."""
        self._forget(_visitor(request))
        again = threading.Timer(LEAVING, self._forget, [_visitor(request)])
        again.daemon = True
        again.start()

    def _at_first(self) -> Changes:
        """Show the page as it was at first."""
        parts = (*self._pictures.values(), *self._texts.values(), self._sizes, self._download)
        return {
            **dict.fromkeys(parts, _HIDDEN),
            **dict.fromkeys((self._mapping, self._completing), gr.update(visible=False)),
            **_at_rest(self._compressing, "no image yet"),
            **_at_rest(self._drawing, "nothing drawn yet"),
            self._draw: gr.update(interactive=True),
        }

    def _forget(self, visitor: str) -> None:
        """Stop a visitor's work, and delete its results."""
        self._jobs.stop(visitor)
        with self._lock:
            folder = self._folders.pop(visitor, None)
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)

    def _new_folder(self, visitor: str) -> Path:
        """An empty folder for results."""
        with self._lock:
            if visitor not in self._folders:
                self._folders[visitor] = Path(tempfile.mkdtemp(dir=self._folder))
            return Path(tempfile.mkdtemp(dir=self._folders[visitor]))

    def _without_folders(self, text: str) -> str:
        """A text with the names of files in the folders of uploads and results, which are of no use to visitors."""
        return re.sub(rf"{re.escape(str(self._folder))}/(?:\w+/)*", "", text)

    def _changes(self, controls: Controls, file: Path, messages: Iterator[Message]) -> Iterator[Changes]:
        """What the messages of a task about a file change on the page."""
        began, step = time.monotonic(), ("starting", 0, 1)
        is_first = True
        for message in messages:
            changes: Changes = {controls.duration: markup.duration(time.monotonic() - began)}
            if is_first:
                changes |= {controls.cancel: gr.update(interactive=True), self._draw: gr.update(interactive=False)}
                is_first = False
            if message.get(PROGRESS, step) != step:
                step = message[PROGRESS]
                changes[controls.progress] = markup.bar(*step)
            if ERROR in message:
                changes[controls.progress] = markup.failure(self._without_folders(message[ERROR]))
            for name in self._pictures.keys() & message.keys():
                changes[self._pictures[name]] = gr.update(value=message[name], visible=True)
            for name in self._texts.keys() & message.keys():
                text = markup.plain(self._without_folders(message[name]))
                changes[self._texts[name]] = gr.update(value=text, visible=True)
            if "sizes" in message:
                table = markup.size_table(message["sizes"], file.stat().st_size)
                changes[self._sizes] = gr.update(value=table, visible=True)
            if "file" in message:
                changes[self._download] = gr.update(value=message["file"], visible=True)
            if "map_note" in message:
                changes[self._mapping] = gr.update(visible=True)
            if message.get("can_draw"):
                changes[self._completing] = gr.update(visible=True)
            if ERROR in message or step[1] == step[2]:
                changes |= {controls.cancel: gr.update(interactive=False), self._draw: gr.update(interactive=True)}
            yield changes
        # Gradio makes the last changes again at the end, when those of a stopped task are out of date.
        yield {controls.duration: gr.skip()}


_HIDDEN = gr.update(value=None, visible=False)


def _controls(text: str, prefix: str) -> Controls:
    progress = gr.HTML(markup.message(text), elem_id=f"{prefix}progress", elem_classes="progress")
    duration = gr.HTML(elem_id=f"{prefix}duration")
    return Controls(progress, duration, gr.Button("Cancel", interactive=False, elem_id=f"{prefix}cancel"))


def _at_rest(controls: Controls, text: str) -> Changes:
    return {
        controls.progress: markup.message(text),
        controls.duration: "",
        controls.cancel: gr.update(interactive=False),
    }


def _picture(description: str, name: str) -> gr.Image:
    return gr.Image(
        visible=False,
        show_label=False,
        alt_text=description,
        type="filepath",
        format="png",
        interactive=False,
        buttons=["download", "fullscreen"],
        elem_id=name,
    )


def _visitor(request: gr.Request) -> str:
    return str(request.session_hash)
