"""`serve`: a page in the browser that compresses an image, maps its bits and draws detail."""

import logging
import os
import socket
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from pixelpyramids.cli import options
from pixelpyramids.cli.console import print_json, stderr, stdout
from pixelpyramids.errors import ParameterError, PixelPyramidsError
from pixelpyramids.extras import import_extra
from pixelpyramids.interrupts import defer_interrupts


def serve(
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="Address to listen on. 0.0.0.0 lets any machine on your network use the page; there is no password.",
        ),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 7860,
    max_mb: Annotated[int, typer.Option(metavar="N", min=1, help="Refuse files of more than N megabytes.")] = 100,
    max_pixels: Annotated[
        int, typer.Option(metavar="N", min=1, help="Refuse images of more than N pixels (height x width).")
    ] = 25_000_000,
    json: options.Json = False,
) -> int:
    """Serve a page on this machine: compress an image, see it arrive from coarse to fine, and draw new detail for it.

    The page also shows where the bits of the image go, and its size as PNG, WebP and JPEG XL. It needs no network.
    Ctrl-C stops the server (exit status 130), and deletes uploads and results.
    """
    port = _check_address(host, port)
    with (
        defer_interrupts(lambda _: stderr.inform("stopping")) as stopped,
        tempfile.TemporaryDirectory(prefix="pixelpyramids_", ignore_cleanup_errors=True) as folder,
    ):
        folder = os.path.realpath(folder)
        _set_environment(folder)
        layout = import_extra("pixelpyramids.cli.web.layout", "demo")
        jobs = import_extra("pixelpyramids.cli.web.jobs", "demo").Jobs()
        page = layout.Page(Path(folder), jobs, max_mb, max_pixels).blocks
        try:
            address = _launch(page, layout, host, port, max_mb)
            if not socket.gethostbyname(host).startswith("127."):
                stderr.print("warning: every machine that reaches this address can use the page")
            stderr.inform("press Ctrl-C to stop")
            if json:
                print_json({"address": address})
            else:
                stdout.print(address)
            while not stopped():
                time.sleep(0.1)
        finally:
            jobs.close()
            if page.is_running:
                logging.getLogger("uvicorn.error").disabled = True  # it would show a traceback
                page.server.force_exit = True  # it would wait for browsers that show the page
                page.close(verbose=False)
    return 130


def _check_address(host: str, port: int) -> int:
    """The port, or a free one for 0. Raises ParameterError if the address cannot be listened on."""
    try:
        with socket.create_server((host, port)) as server:
            free: int = server.getsockname()[1]
    except (OSError, OverflowError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ParameterError(
            f"{host} port {port}: {reason}; choose another with --host (IPv4) and --port, or --port 0 for a free port"
        ) from error
    return free


def _set_environment(folder: str) -> None:
    """Set what Gradio reads when it is imported. It asks only its own server whether it runs, which needs no proxy."""
    os.environ |= {"GRADIO_TEMP_DIR": folder, "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}
    os.environ |= {"no_proxy": "*", "NO_PROXY": "*"}


def _launch(page: Any, layout: Any, host: str, port: int, max_mb: int) -> str:
    """Start the server, and return its address."""
    try:
        page.launch(
            server_name=host,
            server_port=port,
            prevent_thread_lock=True,
            quiet=True,
            share=False,
            max_file_size=f"{max_mb}mb",
            footer_links=[],
            ssr_mode=False,
            theme=layout.THEME,
            css_paths=[layout.STYLE],
        )
    except (OSError, ValueError) as error:
        raise PixelPyramidsError(f"the server did not start: {error}") from error
    logging.getLogger("uvicorn.error").addFilter(_is_no_disconnect)
    return str(page.local_url)


def _is_no_disconnect(record: logging.LogRecord) -> bool:
    """Whether a message is about something else than a browser that left during an upload."""
    error = record.exc_info[0] if record.exc_info else None
    return error is None or error.__name__ != "ClientDisconnect"
