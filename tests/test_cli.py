"""Every command on small images, and its error messages."""

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import COMMAND, ENVIRONMENT, KEYS, authors_status, json_of, output_of, refusal, status, write_params
from pictures import contents, files
from PIL import Image
from test_run_directory import save_run
from test_six_data_sets import celeba_folders

from pixelpyramids.cli import main
from pixelpyramids.model.parameters import DATA_SETS, find_paper_figure, load_parameters, parse_parameters
from pixelpyramids.training import run_directory


def test_train_fills_a_run_directory_and_resumes_it(trained, images, params, capsys):
    assert run_directory.read_parameters(trained).L == 4
    assert list((trained / "samples").glob("step_*.png"))
    command = ("train", params, "--data", images, "--out", trained, "--steps", 6, "--device", "cpu")
    assert "resuming from step 6" in output_of(capsys, *command).err


def test_levels_can_be_trained_one_after_the_other(images, params, tmp_path, capsys):
    common = ("train", params, "--data", images, "--out", tmp_path / "run", "--steps", 1, "--device", "cpu")
    assert status(*common, "--levels", "0,2-3") == 0
    assert "--levels 1" in refusal(capsys, "evaluate", tmp_path / "run", "--data", images)
    assert status(*common, "--levels", "1", "--no-validation") == 0
    assert status("evaluate", tmp_path / "run", "--data", images) == 0


def test_curve_draws_a_run_and_prints_the_file(trained, tmp_path, capsys):
    picture = tmp_path / "curve.png"
    assert str(picture) in output_of(capsys, "curve", trained, "--out", picture).out.replace("\n", "")
    assert np.asarray(Image.open(picture).convert("L")).std() > 0
    before = picture.read_bytes()
    assert str(picture) in refusal(capsys, "curve", trained, "--out", picture)
    assert picture.read_bytes() == before
    assert status("curve", trained, "--out", picture, "--overwrite") == 0
    assert ".svg" in refusal(capsys, "curve", trained, "--out", tmp_path / "curve.txt")
    assert "run directory" in refusal(capsys, "curve", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curve.png"]


def test_levels_at_different_steps_print_no_sum(images, params, tmp_path, capsys):
    run = tmp_path / "run"
    common = ("train", params, "--data", images, "--out", run, "--device", "cpu", "--no-samples")
    assert re.search(r"step 1: \d\.\d{4}", output_of(capsys, *common, "--steps", 1).err)
    said = output_of(capsys, *common, "--steps", 2, "--levels", "0-1").err
    assert re.search(r"step 2: bits/dim of levels \[0:\d+\.\d+ 1:\d+\.\d+\]", said)
    assert not re.search(r"\d bits/dim", said)
    assert not (run / "samples").exists()


def test_evaluate_prints_a_table_or_json(trained, images, capsys):
    command = ("evaluate", trained, "--data", images, "--split", "all")
    text = output_of(capsys, *command).out
    assert "bits/dim on 20 images (20 PNG), 8 bits" in text and "coarsest" in text
    result = json_of(capsys, *command, "--batch-size", 3)
    assert f"{result['bits_per_dim']:.4f}" in text
    assert len(result["per_image"]) == 20 and len(result["levels"]) == 4
    assert result["sessions"][0]["levels"]["0"]["step"] == 6 and result["paper"] is None
    assert json_of(capsys, *command, "--tile", 8)["dimensions"] == result["dimensions"] == 20 * 24 * 16 * 3


def test_score_rates_single_files(trained, images, tmp_path, capsys):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    scored = json_of(capsys, "score", trained, images / "00.png", images / "01.png")["images"]
    model = run_directory.load(trained)
    pixels = torch.from_numpy(np.asarray(Image.open(images / "00.png")).astype(np.int64)).permute(2, 0, 1)[None]
    assert scored[0]["bits_per_dim"] == pytest.approx(float(model.rate(pixels).bits_per_dim[0]), rel=1e-6)
    assert status("score", trained, tmp_path / "broken.png", images / "00.png", images / "01.png") == 1
    captured, mean = capsys.readouterr(), (scored[0]["bits_per_dim"] + scored[1]["bits_per_dim"]) / 2
    assert "broken.png" in captured.err and "01.png" in captured.out
    assert captured.out.splitlines()[-1] == f"{mean:.4f} bits/dim  mean of 2 images, weighted by their sizes"


def test_sample_writes_the_same_pictures_for_the_same_seed(trained, tmp_path, capsys):
    said = output_of(capsys, "sample", trained, "-n", 3, "--out", tmp_path / "a", "--seed", 7).out
    assert "3 samples of 16 x 8 (height x width), numbers 0 to 2" in said
    assert status("sample", trained, "-n", 3, "--out", tmp_path / "b", "--seed", 7, "--batch-size", 2) == 0
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == ["0000.png", "0001.png", "0002.png", "grid.png"]
    model = run_directory.load(trained)
    drawn = model.sample(3, seed=7).permute(0, 2, 3, 1).numpy()
    assert all(np.array_equal(Image.open(tmp_path / "a" / f"{i:04d}.png"), drawn[i]) for i in range(3))
    b = contents(tmp_path / "b")
    assert b == contents(tmp_path / "a")
    assert status("sample", trained, "-n", 2, "--out", tmp_path / "c", "--seed", 7, "--no-grid") == 0
    assert status("sample", trained, "-n", 1, "--out", tmp_path / "c", "--seed", 7, "--first", 2) == 0
    assert contents(tmp_path / "c") == {name: b[name] for name in names[:3]}
    assert "0002.png" in refusal(capsys, "sample", trained, "-n", 2, "--out", tmp_path / "c", "--first", 2)
    assert "--overwrite" in refusal(capsys, "sample", trained, "--out", tmp_path / "a")
    assert status("sample", trained, "-n", 1, "--out", tmp_path / "a", "--overwrite", "--height", 5, "--width", 1) == 0
    assert Image.open(tmp_path / "a" / "0000.png").size == (1, 5)


@pytest.mark.parametrize("command", ["sample", "complete"])
def test_a_folder_of_other_numbered_pictures_is_left_alone(command, trained, images, tmp_path, capsys):
    for number in range(4):
        shutil.copy(images / "03.png", tmp_path / f"{number:04d}.png")
    arguments = (trained,) if command == "sample" else (trained, tmp_path / "0001.png", "--scale", 2)
    error = refusal(capsys, command, *arguments, "-n", 2, "--out", tmp_path, "--overwrite")
    assert "0002.png: would be removed as part of an earlier set" in error
    assert {path.read_bytes() for path in tmp_path.iterdir()} == {(images / "03.png").read_bytes()}
    assert len(list(tmp_path.iterdir())) == 4


def test_complete_keeps_the_coarse_image(trained, images, tmp_path, capsys):
    assert status("complete", trained, images / "03.png", "--scale", 2, "-n", 2, "--out", tmp_path / "up") == 0
    for name in ("0000.png", "0001.png"):
        assert np.array_equal(np.asarray(Image.open(tmp_path / "up" / name))[1::2, 1::2], Image.open(images / "03.png"))
    found = json_of(capsys, "complete", trained, images / "03.png", "--scale", 2, "-n", 2, "--out", tmp_path / "again")
    scored = json_of(capsys, "score", trained, images / "03.png", *(tmp_path / "again").glob("0*.png"))["images"]
    bits = {image["file"]: image["bits_per_dim"] for image in scored}
    assert bits == pytest.approx(
        {found["image"]: found["bits_per_dim"]} | {each["file"]: each["bits_per_dim"] for each in found["completions"]}
    )
    message = refusal(capsys, "complete", trained, images / "03.png", "--scale", 8, "--out", tmp_path / "x")
    assert "--scale 8 needs 6 levels, but this model has 3" in message and not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("train", "celeba_256", "--out", "run", "--data", "nosuch"), "nosuch"),
        (("train", "PARAMS", "--out", "run"), "--data DIR"),
        (("train", "PARAMS", "--out", "run", "--data", "IMAGES", "--steps", "1", "--epochs", "1"), "one of"),
        (("train", "PARAMS", "--out", "run", "--data", "IMAGES", "--device", "tpu"), "--device"),
        (("train", "celeba_256", "--out", "run", "--data", "IMAGES"), "expected 256x256"),
        (("evaluate", "TRAINED", "--data", "IMAGES", "--split", "nosuch"), "nosuch"),
        (("evaluate", "TRAINED", "--data", "IMAGES", "--batch-statistics", "4"), 'norm "batch"'),
        (("evaluate", "TRAINED"), "--data DIR"),
        (("score", "TRAINED", "nosuch.png", "--likelihood", "best"), "--likelihood"),
    ],
)
def test_mistakes_are_explained(arguments, message, images, params, trained, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    places = {"PARAMS": str(params), "IMAGES": str(images), "TRAINED": str(trained)}
    assert message in refusal(capsys, *(places.get(argument, argument) for argument in arguments))
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_too_little_memory_is_explained(error, capsys):
    def command():
        raise error

    assert main.run(command) == 2
    assert "out of memory; use smaller batches" in capsys.readouterr().err


def test_usage_errors_end_with_2():
    for arguments in (["train"], ["nosuch"], ["sample", "run", "--out", "x", "-n", "0"]):
        process = subprocess.run([*COMMAND, *arguments], capture_output=True)
        assert process.returncode == 2 and b"Traceback" not in process.stderr


def test_commands_run_without_docstrings():
    process = subprocess.run([COMMAND[0], "-OO", *COMMAND[1:], "compress", "--help"], capture_output=True, text=True)
    assert process.returncode == 0 and "--delete-source" in process.stdout


def test_interrupting_saves_and_ends_with_130(images, params, tmp_path):
    arguments = ["train", params, "--data", images, "--out", tmp_path / "run", "--minutes", 5, "--device", "cpu"]
    process = subprocess.Popen([*COMMAND, *map(str, arguments)], stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    seen = ""
    for line in process.stderr:
        seen += line
        if line.startswith("step"):
            process.send_signal(signal.SIGINT)
            break
    seen += process.stderr.read()
    assert process.wait() == 130, seen
    assert "run the same command again to resume" in seen
    assert run_directory.read_tensors(run_directory.training_file(tmp_path / "run", 0))[1]["step"] >= 1


def test_main_trains_evaluates_and_samples(images, tmp_path, monkeypatch, capsys):
    """`main.py` takes the authors' flags and uses their folders."""
    monkeypatch.chdir(tmp_path)
    params = write_params(tmp_path / "celeba_256.json", KEYS | {"data_root": str(images)})
    recipe = Path(shutil.copy(params, tmp_path / "tiny_authors.json"))
    assert authors_status(params, "--gen_samples") == 2 and "ckpts/tiny_4_8" in capsys.readouterr().err
    assert authors_status(params, "--steps", 2, "--device", "cpu") == 0
    assert (tmp_path / "ckpts" / "tiny_4_8" / "parameters.json").exists()
    assert authors_status(recipe, "--gen_samples") == 2
    assert "expected ckpts/tiny_authors_4_8/ or ckpts/tiny_4_8.pt" in capsys.readouterr().err
    for _ in range(2):
        assert authors_status(params, "--gen_samples", "--num_samples", 3, "--sampling_batch_size", 2) == 0
    assert files(tmp_path / "samples" / "tiny_4_8") == [f"000{i}.png" for i in range(3)]
    assert authors_status(params, "--evaluate", "--data_root", images) == 0
    assert "bits/dim on 2 test images" in capsys.readouterr().out


def test_help_needs_neither_torch_nor_pydantic_nor_the_codec():
    code = """if True:
        import sys, typer
        from pixelpyramids.cli.main import app

        ours = ["pixelpyramids.codec.native", "pixelpyramids.model.parameters"]
        sys.modules |= dict.fromkeys(["torch", "accelerate", "datasets", "matplotlib", *ours])
        for command in ([], ["data"], ["data", "check"], *([name] for name in typer.main.get_command(app).commands)):
            try:
                app([*command, "--help"])
            except SystemExit as exit_:
                assert not exit_.code, command
    """
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT)
    assert process.returncode == 0, process.stderr
    assert all(f" {name} " in process.stdout for names in main.SECTIONS.values() for name in names)


def test_more_bits_per_dim_than_bits_of_a_value_give_a_warning(images, tmp_path, capsys):
    run, dark = save_run(tmp_path / "run"), tmp_path / "data" / "dark.png"
    dark.parent.mkdir()
    Image.fromarray(np.zeros((1, 1, 3), np.uint8)).save(dark)
    assert json_of(capsys, "score", run, images / "00.png", dark)["warning"] is None
    model = run_directory.load(run)
    with torch.no_grad():  # the coarsest network becomes certain that all pixels are bright
        bias = model.stages[-1].network.head.bias
        components = len(bias) // 10
        bias[components : 4 * components], bias[4 * components : 7 * components] = 1.0, -9.0
    run_directory.save(model, run)
    result = json_of(capsys, "score", run, images / "00.png", dark)
    worst = max(image["bits_per_dim"] for image in result["images"])
    assert worst > 8 and f"(up to {worst:.2f})" in result["warning"]
    captured = output_of(capsys, "evaluate", run, "--data", dark.parent, "--split", "all", "--json")
    assert "1 image with more than 8 bits/dim" in json.loads(captured.out)["warning"]
    assert "warning: 1 image with more than" in captured.err


@pytest.mark.filterwarnings("ignore:.*not comparable:UserWarning")
def test_evaluate_prints_the_papers_figure_beside_ours(tmp_path, capsys):
    celeba_folders(tmp_path / "data", 16)
    keys = {"dataset_name": "celeba_256", "L": 5, "n_classes": [20] * 5, "n_squeeze": [1, 1, 0, 0]}
    for bits in (5, 8):
        run = save_run(tmp_path / str(bits), KEYS | keys | {"n_bits": bits})
        printed = output_of(capsys, "evaluate", run, "--data", tmp_path / "data").out
        assert "0.61 bits/dim is the paper's figure for the test images of celeba_256 (" in printed
        assert ("not comparable: this model codes 8 bits" in printed) == (bits == 8)
        assert "batch" in printed
        assert json_of(capsys, "evaluate", run, "--data", tmp_path / "data")["paper"]["bits_per_dim"] == 0.61
        assert json_of(capsys, "evaluate", run, "--data", tmp_path / "data", "--split", "train")["paper"] is None


def test_the_papers_figures_say_if_they_are_unverified():
    figures = {name: find_paper_figure(load_parameters(name)) for name in DATA_SETS}
    assert [figure.bits_per_dim for figure in figures.values()] == [0.61, 0.58, 0.88, 1.07, 0.95, 3.4]
    for name in ("celeba_1024", "imagenet_128", "lsun_church", "lsun_tower"):
        assert "unverified" in figures[name].note
    assert find_paper_figure(load_parameters("celeba_256_authors")) == figures["celeba_256"]
    assert find_paper_figure(load_parameters("photographs")) is None
    smaller = parse_parameters(load_parameters("celeba_256").model_dump() | {"L": 11}, "smaller")
    assert find_paper_figure(smaller).note.startswith("not comparable: this model codes 128 x 128 pixels")


@pytest.mark.parametrize(
    ("words", "completions"),
    [("pixelpyramids comp", {"complete", "compress"}), ("pixelpyramids info --js", {"--json"})],
)
def test_shells_complete_commands_and_options(words, completions):
    asked = {"_PIXELPYRAMIDS_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    command = Path(sys.executable).with_name("pixelpyramids")
    found = subprocess.run([command], env=ENVIRONMENT | asked, capture_output=True, text=True)
    assert found.returncode == 0 and set(found.stdout.split()) == completions


def every_command():
    from pixelpyramids.cli.main import GROUPS, HEADINGS

    for name in HEADINGS:
        yield from ((name, each) for each in GROUPS[name][1]) if name in GROUPS else [(name,)]


@pytest.mark.parametrize("command", list(every_command()), ids=" ".join)
def test_every_command_can_be_quiet_verbose_and_read_by_programs(command, capsys):
    flags = re.findall(r"--[a-z-]+", output_of(capsys, *command, "--help").out)
    assert {"--quiet", "--verbose", "--json"} <= set(flags)
    assert flags.count("--quiet") == flags.count("--verbose") == 1


def test_verbose_commands_say_what_they_took_and_where_an_error_arose(images, tmp_path, capsys):
    command = ("score", "compact", images / "03.png")
    said = output_of(capsys, *command, "--verbose").err
    assert re.fullmatch(r"pixelpyramids [0-9.]+: [0-9.]+ s, [0-9]+ MiB of memory at most\n", said)
    command = ("complete", "compact", tmp_path / "nosuch.png", "--out", tmp_path / "out")
    said = output_of(capsys, *command, "-v", expected=2).err
    assert "Traceback" in said and "read_decoded" in said and "check the path" in said
    assert "Traceback" not in refusal(capsys, *command)


def test_quiet_commands_print_only_results(trained, images, tmp_path, capsys):
    quiet = output_of(capsys, "sample", "compact", "--height", 8, "--width", 8, "-n", 2, "--out", tmp_path / "a", "-q")
    assert (quiet.out, quiet.err) == ("", "")
    quiet = output_of(capsys, "complete", "compact", images / "03.png", "-n", 2, "--out", tmp_path / "b", "-q")
    assert quiet.out.count("bits/dim") == 2 and quiet.err == ""
    found = json_of(capsys, "sample", trained, "-n", 2, "--out", tmp_path / "c")
    assert found["files"] == [str(tmp_path / "c" / name) for name in ("0000.png", "0001.png")]
    curves = json_of(capsys, "curve", trained, "--out", tmp_path / "curve.png")["curves"]
    assert {"training", "level 0"} <= set(curves) and len(curves["training"]["steps"]) > 0
