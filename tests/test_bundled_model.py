"""`score`, `sample` and `complete` with the bundled network, which need no torch."""

import json
import subprocess

import numpy as np
import pytest
from command_line import COMMAND, ENVIRONMENT, json_of, refusal, status
from PIL import Image

import pixelpyramids as pp

WITHOUT_EXTRAS = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name in "torch accelerate jaxtyping huggingface_hub datasets matplotlib pixelpyramids.model".split():
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
"""


@pytest.fixture
def pictures(tmp_path, monkeypatch, images):
    """The current folder, with a colour image, a grey one and one with alpha."""
    monkeypatch.chdir(tmp_path)
    with Image.open(images / "00.png") as image:
        for mode, name in (("RGB", "colour"), ("L", "grey"), ("RGBA", "alpha")):
            image.convert(mode).save(f"{name}.png")
    return tmp_path


def pixels_of(path):
    """The pixels (C, H, W) of an image file."""
    pixels = np.asarray(Image.open(path))
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def test_score_prints_what_the_model_rates(pictures, capsys):
    result = json_of(capsys, "score", "compact", "colour.png", "grey.png", "alpha.png", "missing.png", expected=1)
    colour, grey, alpha = result["images"]
    for scored in colour, grey:
        rate = pp.load("compact").rate(pixels_of(scored["file"])[None])
        assert scored["nats"] == rate.total_nats[0] and scored["bits_per_dim"] == rate.bits_per_dim[0]
        assert scored["conversions"] == []
    assert alpha["nats"] == colour["nats"] and alpha["conversions"] == ["alpha dropped"]
    assert "missing.png" in result["failed"][0] and result["trained_on"] == [] and result["likelihood"] == "exact"
    assert [scored["file"] for scored in json_of(capsys, "score", "compact", ".")["images"]] == sorted(
        ["alpha.png", "colour.png", "grey.png"]
    )


def test_deep_grey_is_reduced_and_noise_gives_a_warning_of_its_own(pictures, capsys):
    Image.fromarray(np.full((4, 4), 40_000, np.uint16)).save("deep.png")
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).save("noise.png")
    result = json_of(capsys, "score", "compact", "deep.png", "noise.png")
    assert result["images"][0]["conversions"] == ["16 bits reduced to 8"]
    assert "more than 8 bits/dim" in result["warning"] and "checkpoint" not in result["warning"]


def test_samples_are_those_of_the_model(pictures, capsys):
    assert status("sample", "compact", "-n", 3, "--height", 9, "--width", 12, "--seed", 5, "--out", "drawn") == 0
    assert "3 samples of 9 x 12" in capsys.readouterr().out
    drawn = pp.load("compact").sample(3, 9, 12, seed=5)
    assert all(np.array_equal(pixels_of(f"drawn/000{i}.png"), image) for i, image in enumerate(drawn))
    assert (pictures / "drawn" / "grid.png").is_file()
    message = refusal(capsys, "sample", "compact", "--height", 9, "--out", "more")
    assert "pass --height and --width" in message and not (pictures / "more").exists()


@pytest.mark.parametrize("name", ["colour", "grey", "alpha"])
@pytest.mark.parametrize("scale", [2, 4, 8])
def test_completions_hold_the_coarse_image(pictures, capsys, name, scale):
    assert status("complete", "compact", f"{name}.png", "--scale", scale, "-n", 2, "--seed", 1, "--out", "larger") == 0
    printed = capsys.readouterr().out
    assert ("(converted: alpha dropped)" in printed) == (name == "alpha")
    coarse, *drawn = (pixels_of(path) for path in (f"{name}.png", "larger/0000.png", "larger/0001.png"))
    coarse = coarse[:3]
    for image in drawn:
        assert np.array_equal(image[:, scale - 1 :: scale, scale - 1 :: scale], coarse)
    assert not np.array_equal(*drawn)
    expected = pp.load("compact").complete(coarse[None], *(scale * side for side in coarse.shape[1:]), seed=1)
    assert np.array_equal(drawn[0], expected[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("score", "compact", "colour.png", "--params", "celeba_256"), "takes no --params; leave it out"),
        (
            ("score", "compact", "colour.png", "--likelihood", "exact", "--tile", 8),
            "no --likelihood, --tile; leave them out",
        ),
        (("sample", "compact", "--device", "cpu", "--height", 8, "--width", 8, "--out", "x"), "takes no --device"),
        (("complete", "compact", "colour.png", "--device", "cpu", "--out", "x"), "takes no --device"),
        (("complete", "compact", "colour.png", "--scale", 3, "--out", "x"), "expected --scale 2 or 4 or 8, got 3"),
        (("evaluate", "compact", "--data", "."), "use `pixelpyramids score compact .`"),
        (("evaluate", "compact"), "use `pixelpyramids score compact DIR`"),
    ],
)
def test_what_the_bundled_network_cannot_do_is_refused(pictures, capsys, arguments, message):
    assert message in refusal(capsys, *arguments) and not (pictures / "x").exists()


def test_a_folder_of_the_same_name_is_a_run_directory(pictures, capsys):
    (pictures / "compact").mkdir()
    assert "parameters.json" in refusal(capsys, "score", "compact", "colour.png")


def test_load_refuses_parameters_of_the_bundled_network():
    with pytest.raises(pp.PixelPyramidsError, match="compact: the bundled network has no parameter file"):
        pp.load("compact", params="celeba_256")


def test_no_torch_is_needed(pictures):
    (pictures / "sitecustomize.py").write_text(WITHOUT_EXTRAS)
    environment = ENVIRONMENT | {"PYTHONPATH": f"{pictures}:{ENVIRONMENT['PYTHONPATH']}"}
    commands = (
        ("score", "compact", "colour.png", "--json"),
        ("sample", "compact", "-n", "1", "--height", "8", "--width", "8", "--out", "drawn"),
        ("complete", "compact", "grey.png", "--scale", "2", "-n", "1", "--out", "larger"),
    )
    done = [subprocess.run([*COMMAND, *arguments], env=environment, stdout=subprocess.PIPE) for arguments in commands]
    assert [run.returncode for run in done] == [0, 0, 0]
    assert len(json.loads(done[0].stdout)["images"]) == 1
