"""The page of `serve` in a browser: what it shows is true, the keyboard is enough, and nothing leaves this machine."""

import io
import json
import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, contextmanager
from pathlib import Path
from shutil import which

import numpy as np
import pytest
from command_line import COMMAND, ENVIRONMENT, refusal, wait_for
from pictures import pixels, save
from PIL import Image

import pixelpyramids as pp
from pixelpyramids.cli.web.jobs import ERROR, MOST_WAITING, Jobs

pytest.importorskip("gradio", reason="needs the extra demo")
playwright = pytest.importorskip("playwright.sync_api", reason="needs the Python package playwright")
CHROMIUM = which("chromium")
in_browser = pytest.mark.skipif(CHROMIUM is None, reason="needs the program chromium")

FLAGS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
]
PROXIES = {"HTTP_PROXY": "http://127.0.0.1:9", "ALL_PROXY": "socks5://127.0.0.1:9"}  # nothing listens there
HEIGHT, WIDTH = 96, 131
LIMITS = "--max-mb", "1", "--max-pixels", "300000"


@contextmanager
def serving(temporary, *options):
    """A server, its process, and its address."""
    process = subprocess.Popen(
        [*COMMAND, "serve", "--port", "0", "--json", *options],
        env=ENVIRONMENT | PROXIES | {"TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process, json.loads(process.stdout.readline())["address"]
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("temporary"), *LIMITS) as (process, address):
        yield process, address


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@contextmanager
def visit(browser, address, width=1280, height=900):
    """The open page. It must ask nothing of any other address, and have no error of its own."""
    context = browser.new_context(viewport={"width": width, "height": height}, accept_downloads=True)
    page = context.new_page()
    requests, errors = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address)
    page.wait_for_selector("input[type=file]", state="attached")
    yield page
    context.close()
    assert {url for url in requests if not url.startswith((address, "data:", "blob:"))} == set()
    assert errors == []


def choose(page, file):
    page.set_input_files("input[type=file]", file)


def wait_until(page, words, place="#progress"):
    playwright.expect(page.locator(place)).to_contain_text(words, timeout=30_000)


def fetch(page, selector):
    """The pixels of the pictures on the page, as the browser gets them."""
    addresses = [image.get_attribute("src") for image in page.locator(f"{selector} img").all()]
    return [np.asarray(Image.open(io.BytesIO(page.request.get(address).body()))) for address in addresses]


@in_browser
def test_an_image_arrives_from_coarse_to_fine_and_all_that_is_said_of_it_is_true(browser, server, tmp_path):
    image = pixels(0, (HEIGHT, WIDTH, 3))
    file = tmp_path / "a picture.png"
    Image.fromarray(image).save(file)
    with visit(browser, server[1]) as page:
        page.evaluate(
            "() => { window.captions = []; new MutationObserver(() => {"
            " const text = document.querySelector('#caption')?.innerText; if (text) window.captions.push(text) })"
            ".observe(document.body, {subtree: true, childList: true, characterData: true}) }"
        )
        choose(page, file)
        wait_until(page, "done")
        captions = page.evaluate("window.captions")
        sizes = [tuple(map(int, re.search(r"(\d+) x (\d+) pixels", text).groups())) for text in captions]
        assert sizes == sorted(sizes) and {(3, 4), (12, 16), (48, 65), (HEIGHT, WIDTH)} <= set(sizes)
        assert f"all {HEIGHT} x {WIDTH} pixels (height x width), 3 channels of 8 bits" in captions[-1]
        assert np.array_equal(fetch(page, "#picture")[0], image)

        with page.expect_download() as download:
            page.click("#download")
        assert download.value.suggested_filename == "a picture.ppyr"
        data = Path(download.value.path()).read_bytes()
        assert np.array_equal(pp.decode(data), image)
        table = dict(re.findall(r"^(\S[^\t]*)\t([\d,]+)\t", page.locator("#sizes").inner_text(), re.MULTILINE))
        bytes_of = {name: int(count.replace(",", "")) for name, count in table.items()}
        assert bytes_of[".ppyr"] == len(data) and bytes_of["your file"] == file.stat().st_size
        assert {"PNG", "WebP", "JPEG XL, effort 7", "JPEG XL, effort 9"} < set(bytes_of)
        (mapped,) = fetch(page, "#map")
        bits = float(pp.load("compact").rate(image.transpose(2, 0, 1)[None]).bits_per_dim[0])
        assert mapped.shape[1] == 1280 and f"{bits:.3f} bits/dim" in page.locator("#map_note").inner_text()


@in_browser
def test_completions_contain_the_coarse_version_and_depend_on_the_seed(browser, server, tmp_path):
    image, file = pixels(3, (HEIGHT, WIDTH, 3)), tmp_path / "a.png"
    Image.fromarray(image).save(file)
    coarse = image[3::4, 3::4][: HEIGHT // 4, : WIDTH // 4]

    def draw(page, seed):
        page.get_by_label("Seed").fill(str(seed))
        page.dblclick("#draw")
        wait_until(page, f"Seed {seed}.", "#drawn_note")
        playwright.expect(page.locator("#draw")).to_be_enabled()
        _, *drawn, original = fetch(page, "#drawn")
        assert np.array_equal(original, image)
        return drawn

    with visit(browser, server[1]) as page:
        choose(page, file)
        wait_until(page, "done")
        page.get_by_label("Seed").fill("1.5")
        page.click("#draw")
        wait_until(page, "a whole number from 0 to", "#drawing_progress [role=alert]")
        first, second, again = draw(page, 5), draw(page, 6), draw(page, 5)
        assert len(first) == 3 and all(np.array_equal(each[3::4, 3::4], coarse) for each in first + second)
        assert all(np.array_equal(*pair) for pair in zip(first, again, strict=True))
        assert not any(np.array_equal(*pair) for pair in zip(first, second, strict=True))


@in_browser
def test_what_cannot_be_read_is_refused_in_words(browser, server, tmp_path):
    (tmp_path / "words.png").write_text("not a picture")
    Image.new("L", (1000, 301)).save(tmp_path / "large.png")
    (tmp_path / "heavy.bin").write_bytes(os.urandom(1_100_000))
    with visit(browser, server[1]) as page:
        for name, words in (("words.png", "words.png: "), ("large.png", "limit of 300000")):
            choose(page, tmp_path / name)
            alert = page.locator("#progress [role=alert]")
            playwright.expect(alert).to_contain_text(words)
            assert "/" not in alert.inner_text()  # no path of this machine
            page.get_by_label("Clear").click()
            wait_until(page, "no image yet")
        choose(page, tmp_path / "heavy.bin")
        playwright.expect(page.get_by_text("exceed the maximum allowed size")).to_be_visible()
        np.save(tmp_path / "six.npy", np.zeros((30, 40, 6), np.uint8))
        choose(page, tmp_path / "six.npy")  # and it goes on
        wait_until(page, "done")
        assert "6 channels" in page.locator("#map_note").inner_text()
        assert "/" not in page.locator("#map_note").inner_text() + page.locator("#caption").inner_text()
        assert not page.locator("#draw").is_visible()


@in_browser
def test_compressed_files_and_arrays_are_taken_too(browser, server, tmp_path):
    image = pixels(1, (40, 50, 3))
    np.save(tmp_path / "array.npy", image)
    pp.save(tmp_path / "compressed.ppyr", image)
    with visit(browser, server[1]) as page:
        for name in ("array.npy", "compressed.ppyr"):
            choose(page, tmp_path / name)
            wait_until(page, "done")
            assert np.array_equal(fetch(page, "#picture")[0], image) and len(fetch(page, "#map")) == 1
            with page.expect_download() as download:
                page.click("#download")
            data = Path(download.value.path()).read_bytes()
            assert np.array_equal(pp.decode(data), image)
            page.click("#draw")
            wait_until(page, "Seed 0.", "#drawn_note")
            page.get_by_label("Clear").click()
            wait_until(page, "no image yet")
    assert data == (tmp_path / "compressed.ppyr").read_bytes()


def workers(server):
    """The processes that work for visitors."""
    threads = Path(f"/proc/{server[0].pid}/task").glob("*/children")
    children = [child for thread in threads for child in thread.read_text().split()]
    return [each for each in children if b"spawn_main" in Path(f"/proc/{each}/cmdline").read_bytes()]


@pytest.fixture
def noise(tmp_path):
    """An image that takes seconds."""
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (540, 540, 3), np.uint8)).save(tmp_path / "noise.png")
    return tmp_path / "noise.png"


@in_browser
def test_work_can_be_cancelled_and_ends_when_the_visitor_leaves(browser, server, noise):
    with visit(browser, server[1]) as page:
        choose(page, noise)
        wait_until(page, "compressing")
        page.click("#cancel")
        wait_until(page, "cancelled")
        wait_for(lambda: not workers(server))
        playwright.expect(page.locator("#cancel")).to_be_disabled()
        page.get_by_label("Clear").click()
        choose(page, noise)
        wait_for(lambda: workers(server))
    wait_for(lambda: not workers(server))


@in_browser
def test_others_wait_and_an_image_that_was_removed_meanwhile_is_forgotten(browser, server, noise, tmp_path):
    with visit(browser, server[1]) as first, visit(browser, server[1]) as second:
        choose(first, noise)
        wait_until(first, "compressing")
        choose(second, save(tmp_path / "removed.png", 1))
        wait_until(second, "waiting for 1 other image")
        second.get_by_label("Clear").click()
        wait_until(second, "no image yet")
        choose(second, save(tmp_path / "kept.png", 2))
        wait_until(second, "waiting for 1 other image")
        first.click("#cancel")
        wait_until(first, "cancelled")
        wait_until(second, "done")
        assert np.array_equal(fetch(second, "#picture")[0], pixels(2))
        with second.expect_download() as download:
            second.click("#download")
        assert download.value.suggested_filename == "kept.ppyr"


@in_browser
def test_the_page_is_used_by_keyboard_and_fits_a_phone(browser, server, tmp_path):
    file = save(tmp_path / "a.png", 3)
    with visit(browser, server[1], width=390, height=844) as page:
        with page.expect_file_chooser() as chooser:
            page.keyboard.press("Tab")
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
            page.keyboard.press("Enter")
        chooser.value.set_files(file)
        wait_until(page, "done")
        reached = []
        for _ in range(40):
            page.keyboard.press("Tab")
            focused = "(e => e.id || e.innerText || e.ariaLabel || e.labels?.[0]?.innerText || e.type || e.tagName)"
            reached.append(page.evaluate(f"{focused}(document.activeElement)"))
            if reached[-1] == "draw":
                page.keyboard.press("Enter")
                break
        assert "download" in reached and any("Seed" in name for name in reached), reached
        wait_until(page, "Seed 0.", "#drawn_note")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


def count_slowly(name):
    """A task that yields numbers for a minute."""
    for number in range(600):
        yield {"number": number, "name": name}
        time.sleep(0.1)


def test_of_several_requests_of_a_visitor_at_once_only_the_last_is_worked_on():
    jobs, seen = Jobs(), []

    def work(name):
        with jobs.entered("a visitor") as job:
            seen.extend(message["name"] for message in jobs.run(job, count_slowly, name) if message)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcdef"]
    for thread in threads:
        thread.start()
        time.sleep(0.001)
    wait_for(lambda: len(seen) > 3)
    assert len(multiprocessing.active_children()) == 1
    last = seen[-1]
    jobs.stop("a visitor")
    wait_for(lambda: not multiprocessing.active_children())
    for thread in threads:
        thread.join()
    assert seen[-1] == last


def test_others_are_refused_when_too_many_wait():
    jobs = Jobs()
    with ExitStack() as stack:
        for number in range(MOST_WAITING + 1):
            assert stack.enter_context(jobs.entered(str(number))) is not None
        late = stack.enter_context(jobs.entered("late"))
        (message,) = jobs.run(late, count_slowly, "late")
        assert "too many" in message[ERROR]
    jobs.close()
    with jobs.entered("later still") as job:
        assert job is None


def test_files_of_this_machine_are_not_served(server, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    for path in (secret, Path("pyproject.toml").resolve(), "/etc/hostname", "../../../etc/hostname"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{server[1]}gradio_api/file={path}")
        assert refused.value.code in (403, 404)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_stops_the_server_and_deletes_what_was_uploaded(tmp_path, number):
    with serving(tmp_path) as (process, _):
        assert len(list(tmp_path.glob("pixelpyramids_*"))) == 1
        os.killpg(process.pid, number)  # as a terminal and a batch system do
        out, err = process.communicate()
    assert (process.returncode, out, err) == (130, "", "press Ctrl-C to stop\nstopping\n")
    assert not list(tmp_path.glob("pixelpyramids_*"))


@in_browser
def test_an_interrupt_while_it_works_says_nothing_of_the_work(browser, tmp_path, noise):
    with serving(tmp_path / "..") as server, visit(browser, server[1]) as page:
        choose(page, noise)
        wait_for(lambda: workers(server))
        os.killpg(server[0].pid, signal.SIGINT)
        began = time.monotonic()
        assert server[0].communicate() == ("", "press Ctrl-C to stop\nstopping\n")
        assert server[0].returncode == 130 and time.monotonic() - began < 5


def test_addresses_that_cannot_be_used_are_refused(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"127.0.0.1 port {port}: Address already in use" in refusal(capsys, "serve", "--port", port)
    assert "no.such.host.invalid" in refusal(capsys, "serve", "--host", "no.such.host.invalid")


def test_without_the_extra_the_error_says_how_to_install_it(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.delitem(sys.modules, "pixelpyramids.cli.web.layout", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", None)
    assert 'pip install "pixelpyramids[demo]"' in refusal(capsys, "serve", "--port", "0")
