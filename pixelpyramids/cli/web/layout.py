"""The page of `serve`: what it shows, and what its controls do."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from pixelpyramids.cli.web import markup, tasks
from pixelpyramids.cli.web.jobs import ERROR, Jobs, Message

STYLE = Path(__file__).with_name("style.css")
THEME = gr.themes.Default(
    font=("ui-sans-serif", "system-ui", "sans-serif"), font_mono=("ui-monospace", "Consolas", "monospace")
)  # fonts of the system, because others come from the network

MOST_WAITING = 16  # visitors; others are asked to come back
MOST_DRAWN = 6  # images at once
LARGEST_SEED = 2**31 - 1

FORMATS = "PNG, TIFF, JPEG, WebP, GIF, BMP, AVIF, JPEG 2000, PPM, .npy or .ppyr."
INTRODUCTION = """
# PixelPyramids

Choose an image. It is compressed without loss and then decoded, from coarse to fine. Below, you see where its bits go,
and the network can draw new detail for a coarse version of it. The image stays on the machine that serves this page.
"""
COMPLETIONS = f"""
## Draw new detail

The middle of the image, at most {tasks.MOST_DRAWN} pixels a side, is reduced to a coarse version. The network draws
images with this coarse version. Their bits/dim say how likely they are: fewer is likelier. The same seed draws the same
images.
"""

Changes = dict[Any, Any]
"""New values or properties of components."""


class Page:
    """The components of the page, and the functions behind them."""

    def __init__(self, folder: Path, jobs: Jobs, max_megabytes: int, max_pixels: int) -> None:
        """Results are written below `folder`. Images of more than `max_pixels` pixels are refused."""
        self._folder, self._jobs, self._max_pixels = folder, jobs, max_pixels
        with gr.Blocks(title="PixelPyramids", analytics_enabled=False) as self.blocks:
            self._place_components(f"at most {max_megabytes:,} MB and {max_pixels / 1e6:.3g} megapixels")
            self._connect()
        self.blocks.queue(max_size=MOST_WAITING)

    def _place_components(self, limits: str) -> None:
        gr.Markdown(INTRODUCTION)
        with gr.Row():
            with gr.Column():
                self._upload = gr.File(label=f"Image ({limits})", file_count="single", type="filepath", height=160)
                gr.Markdown(FORMATS)
                self._progress = gr.HTML(markup.message("no image yet"), elem_id="progress")
                self._cancel = gr.Button("Cancel", interactive=False, elem_id="cancel")
                self._sizes = gr.HTML(visible=False, elem_id="sizes")
                self._download = gr.DownloadButton("Download the .ppyr file", visible=False, elem_id="download")
            with gr.Column():
                picture = _picture("The image, as far as it is decoded", "picture")
                caption = gr.Markdown(visible=False, elem_id="caption")
        map_note = gr.Markdown(visible=False, elem_id="map_note")
        map_picture = _picture("Maps of the bits of each pixel, over the image and by level", "map")
        with gr.Column(visible=False) as self._completions:
            gr.Markdown(COMPLETIONS)
            with gr.Row():
                self._scale = gr.Radio([2, 4, 8], value=4, label="Reduce by")
                self._count = gr.Slider(1, MOST_DRAWN, value=3, step=1, label="Images to draw", buttons=[])
                self._seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=LARGEST_SEED)
            self._draw = gr.Button("Draw", variant="primary", elem_id="draw")
            drawn_note = gr.Markdown(visible=False, elem_id="drawn_note")
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
        self._shown = {
            "picture": picture,
            "caption": caption,
            "map": map_picture,
            "map_note": map_note,
            "drawn": drawn,
            "drawn_note": drawn_note,
        }
        """Components by the names that messages have for them."""

    def _connect(self) -> None:
        """Connect the controls with the functions. One visitor's work is done at a time, and others wait in a queue."""
        results = [self._sizes, self._download, self._completions, *self._shown.values()]
        changed = [self._progress, self._cancel, self._draw, *results]
        at_once: dict[str, Any] = {"queue": False, "show_progress": "hidden"}
        work: dict[str, Any] = {"outputs": changed, "concurrency_id": "work", "show_progress": "hidden"}
        self._upload.upload(self._clear, None, changed, **at_once).then(self._compress, self._upload, **work)
        self._upload.clear(self._clear, None, changed, **at_once)
        self._draw.click(self._complete, [self._upload, self._scale, self._count, self._seed], **work)
        self._cancel.click(self._stop, None, None, **at_once)
        self.blocks.unload(self._stop)

    def _compress(self, name: str, request: gr.Request) -> Iterator[Changes]:
        file = Path(name)
        yield from self._changes(file, self._jobs.run(*self._job(request), tasks.compress, file, self._max_pixels))

    def _complete(
        self, name: str | None, scale: int, count: int, seed: int | None, request: gr.Request
    ) -> Iterator[Changes]:
        if name is None or seed is None:
            yield {self._progress: markup.failure("choose an image, and a whole number as seed")}
            return
        file = Path(name)
        numbers = int(scale), int(count), int(seed)
        job = self._jobs.run(*self._job(request), tasks.complete, file, self._max_pixels, *numbers)
        yield from self._changes(file, job)

    def _stop(self, request: gr.Request) -> None:
        self._jobs.stop(str(request.session_hash))

    def _clear(self, request: gr.Request) -> Changes:
        self._stop(request)
        hidden = gr.update(value=None, visible=False)
        results = dict.fromkeys([*self._shown.values(), self._sizes, self._download], hidden)
        return {**results, self._completions: gr.update(visible=False), self._progress: markup.message("no image yet")}

    def _job(self, request: gr.Request) -> tuple[str, Path]:
        """The visitor, and a new folder for the results."""
        return str(request.session_hash), Path(tempfile.mkdtemp(dir=self._folder))

    def _changes(self, file: Path, messages: Iterator[Message | None]) -> Iterator[Changes]:
        """What the messages of a task about a file change on the page."""
        began, failed = time.monotonic(), False
        step: tuple[str, int, int] = ("starting", 0, 1)
        yield {self._cancel: gr.update(interactive=True), self._draw: gr.update(interactive=False)}
        for message in messages:
            known = message or {}
            step = known.get("progress", step)
            change: Changes = {self._progress: markup.bar(*step, time.monotonic() - began)}
            for name in self._shown.keys() & known.keys():
                change[self._shown[name]] = gr.update(value=known[name], visible=True)
            if "sizes" in known:
                table = markup.size_table(known["sizes"], file.stat().st_size)
                change[self._sizes] = gr.update(value=table, visible=True)
            if "file" in known:
                change[self._download] = gr.update(value=known["file"], visible=True)
                change[self._completions] = gr.update(visible=True)
            if ERROR in known:
                failed = True
                change[self._progress] = markup.failure(known[ERROR].replace(str(file), file.name))
            yield change
        ended: Changes = {self._cancel: gr.update(interactive=False), self._draw: gr.update(interactive=True)}
        if not failed and step[1] < step[2]:
            ended[self._progress] = markup.message("cancelled")
        yield ended


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
