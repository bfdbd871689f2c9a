"""The documentation is true: its commands exist and run, its Python runs, its links lead somewhere."""

import ast
import importlib
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
import zarr
from command_line import KEYS, ROOT, status
from pictures import save, write_images
from PIL import Image
from test_run_directory import save_run

import main as authors_command
import pixelpyramids as pp
from benchmarks import photographs
from pixelpyramids.cli import main

PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/**/*.md", "trainings/*.md", "pixelpyramids/assets/*.md")
    for path in ROOT.glob(pattern)
)
COMMAND = re.compile(r"^(?:\w+=\S+ )*(?:torchrun .+? -m )?pixelpyramids (?P<arguments>.+?)(?:\s+#.*)?$", re.M)
ONE_STEP = "--steps 1 --no-samples --no-validation"
SHORTER = {
    "--minutes 30": ONE_STEP,
    "--minutes 60": ONE_STEP,
    "--minutes 1": ONE_STEP,
    " 16 ": " 2 ",
    "--data DIR": "--data photos",
}
"""What the tests run in place of what a page says."""


def blocks(page, language=""):
    text = (ROOT / page).read_text(encoding="utf-8")
    fenced = re.findall(r"^```(\w*)\n(.+?)^```", text.replace("\\\n", " "), re.S | re.M)
    return [block for its_language, block in fenced if its_language == language]


def shell_lines(page):
    """The commands of a page that begin with `pixelpyramids`, as they stand there, without their comments."""
    lines = [line.split(" # ")[0].strip() for block in blocks(page) for line in block.splitlines()]
    return [line for line in lines if line.startswith("pixelpyramids ")]


@pytest.fixture
def bash(monkeypatch):
    """Runs a line of a page; `pixelpyramids` is a process of its own if the line has a pipe."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    interpreter = shlex.join((sys.executable, "-m", "pixelpyramids"))

    def run(line):
        for written, shorter in SHORTER.items():
            line = line.replace(written, shorter)
        if re.search("[<>|]", line):
            subprocess.run(["bash", "-ec", f'pixelpyramids() {{ {interpreter} "$@"; }}\n{line}'], check=True)
        else:
            assert status(*shlex.split(line)[1:]) == 0, line

    return run


@pytest.mark.parametrize("page", PAGES)
def test_commands_and_options_exist(page):
    for found in (found for block in blocks(page) for found in COMMAND.finditer(block)):
        name, *arguments = shlex.split(
            re.split(
                " [<|>] ", re.sub(r"[][]", "", found["arguments"]).replace(" N", " 1").replace("PARAMS", "celeba_256")
            )[0]
        )
        command = typer.main.get_command(main.app).get_command(None, name)
        if hasattr(command, "commands"):
            command = command.get_command(None, arguments.pop(0))
        command.make_context(name, arguments)  # raises UsageError for an option that does not exist


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.S | re.M)
    for link in re.findall(r"\]\((?!https?:)([^)]+)\)", text):
        target, _, anchor = link.partition("#")
        path = (ROOT / page).parent / target if target else ROOT / page
        assert path.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.M)
            assert anchor in {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}, link


@pytest.mark.parametrize("page", PAGES)
def test_modules_and_names_in_python_exist(page):
    text = re.sub(
        r"^\|[^|]+\|", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.M
    )  # the first column: old names
    for name in set(re.findall(r"\b(?:pixelpyramids|pp)((?:\.[A-Za-z]\w+)+)(?!\w*/)", text)):
        found = pp
        for part in name[1:].split("."):
            if not hasattr(found, part):
                importlib.import_module(f"{found.__name__}.{part}")
            found = getattr(found, part)


def test_the_readme_is_short_and_names_no_image_that_chose_the_weights():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    for name in photographs.PACKAGED.values():
        assert all(Path(file).stem not in text for file in name["validation"])


def test_the_readme_and_the_page_on_training_do_what_they_say(tmp_path, monkeypatch, bash):
    (tmp_path / "photos").mkdir()
    for source in (ROOT / "pixelpyramids" / "assets" / "photographs").glob("*/[cr]*.*"):
        with Image.open(source) as image:
            pixels = np.asarray(image.convert("RGB").resize((96, 64)))
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{source.stem}.png")
    Image.open(tmp_path / "photos" / "china.png").save(tmp_path / "photograph.png")
    monkeypatch.chdir(tmp_path)
    (code,) = blocks("README.md", "python")
    names = {}
    exec(code, names)
    assert names["preview"].shape == (16, 24, 3) and 0 < names["rate"].bits_per_dim[0] < 8
    assert abs(8 * Path("photograph.ppyr").stat().st_size / names["rate"].nats.sum() * np.log(2) - 1) < 0.05
    small = Image.open("photograph.png").resize((16, 16))
    small.save("small.png")
    lines = [line for line in shell_lines("README.md") if not re.search("bench DIR|celeba_256|serve", line)]
    assert len(lines) == 8
    lines.sort(key=lambda line: "RUN" in line and " train " not in line)  # train the network first
    for line in lines:
        bash(line)
    assert np.array_equal(np.asarray(Image.open("larger/0000.png"))[3::4, 3::4], np.asarray(small))
    assert np.array_equal(Image.open("back/china.png"), Image.open("photos/china.png"))

    shutil.rmtree("larger")
    for line in shell_lines("docs/howto/training.md"):
        bash(line)
    assert {path.name for path in Path("samples").iterdir()} == {"grid.png", *(f"000{i}.png" for i in range(4))}


def test_the_first_page_and_the_page_on_networks_do_what_they_say(tmp_path, monkeypatch, bash):
    write_images(tmp_path / "photos", count=3, size=(64, 64))
    save(tmp_path / "photograph.png")
    monkeypatch.chdir(tmp_path)
    (code,) = blocks("docs/start.md", "python")
    exec(code, {})
    for line in shell_lines("docs/start.md"):
        bash(line)
    shutil.rmtree("RUN")
    for line in shell_lines("docs/howto/network.md"):
        bash(line)
    shutil.rmtree("RUN")
    of_any_folder = [line for line in shell_lines("docs/reference/data/README.md") if "--data photos" in line]
    assert len(of_any_folder) == 2
    for line in of_any_folder:
        bash(line if "check" in line else f"{line} {ONE_STEP}")


def test_the_page_on_reports_does_what_it_says(trained, images, tmp_path, monkeypatch, bash):
    shutil.copytree(trained, tmp_path / "RUN")
    shutil.copytree(images, tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    for line in shell_lines("docs/howto/report.md"):
        bash(line)
    assert Path("RUN/report.html").exists()


def test_the_page_on_maps_does_what_it_says(tmp_path, monkeypatch, bash, capsys):
    save(tmp_path / "photograph.png")
    monkeypatch.chdir(tmp_path)
    (line,) = shell_lines("docs/howto/bits.md")
    bash(line)
    of_file, of_model = blocks("docs/howto/bits.md", "python")
    names = {}
    exec(of_file + of_model, names)
    assert names["bits"].sum() == pytest.approx(names["bit_map"].bits.sum())
    assert "in the finest level" in capsys.readouterr().out


def test_the_page_on_odd_images_does_what_it_says(tmp_path, monkeypatch, bash, capsys):
    write_images(tmp_path / "ordinary", 10, (48, 40))
    write_images(tmp_path / "photos", 2, (48, 40))
    monkeypatch.chdir(tmp_path)
    (line,) = shell_lines("docs/howto/odd.md")
    bash(line)
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_the_page_on_compression_does_what_it_says(tmp_path, monkeypatch, bash):
    save(tmp_path / "photos" / "2026" / "a.png", icc_profile=b"no real profile")
    save(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    lines = shell_lines("docs/howto/compress.md")
    assert len(lines) >= 10
    for line in lines:
        bash(line)
    assert (tmp_path / "archive" / "2026" / "a.ppyr").exists()


def test_the_python_of_the_page_on_compression_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 2**16, (90, 120, 3), dtype=np.uint16)
    zarr.create_array("scan.zarr", shape=pixels.shape, chunks=(40, 50, 3), dtype="uint16")[:] = pixels
    (code,) = blocks("docs/howto/compress.md", "python")
    names = {}
    exec(code.replace("8000, 6000, 1024, 1024", "20, 30, 70, 50"), names)
    assert np.array_equal(names["part"], pixels[30:80, 20:90])


def test_the_python_of_the_page_on_the_paper_runs(tmp_path):
    torch.manual_seed(0)
    save_run(tmp_path / "RUN")
    (code,) = blocks("docs/explained/paper.md", "python")
    names = {"images": torch.randint(0, 256, (2, 3, 9, 7)), "coarse": torch.randint(0, 256, (1, 3, 32, 64))}
    *first, last = ast.parse(code.replace('"RUN"', repr(str(tmp_path / "RUN")))).body
    exec(compile(ast.Module(first, []), "paper.md", "exec"), names)
    drawn = eval(compile(ast.Expression(last.value), "paper.md", "eval"), names)
    assert drawn.shape == (1, 3, 64, 64) and torch.equal(pp.pyramid.split(drawn)[1], names["coarse"])
    assert names["rate"].nats.shape == (2, KEYS["L"]) and names["rate"].nats.dtype == torch.float64


def test_the_authors_command_has_the_flags_that_the_page_on_checkpoints_names():
    (line,) = re.findall(r"^python main\.py (.+)$", blocks("docs/howto/checkpoints.md")[0], re.M)
    file = re.search(r"--params_file (\S+)", line)[1]
    parsed = authors_command.parse(["--params_file", file, *re.findall(r"\[(--\w+)\]", line)])
    assert parsed.gen_samples and parsed.evaluate and (ROOT / file).is_file()
