"""A run directory returns what was written into it, or a clear error."""

import json
import os

import pytest
import torch
from command_line import KEYS, write_params
from pictures import files
from safetensors.torch import save_file
from test_release_checkpoint import checkpoint, save_checkpoint

from pixelpyramids.errors import CheckpointError, ParameterError
from pixelpyramids.model.parameters import Parameters, parse_parameters
from pixelpyramids.model.pixel_pyramid import PixelPyramid
from pixelpyramids.model.release_checkpoint import convert
from pixelpyramids.training import run_directory as runs


def parameters(**changed):
    small = {"L": 3, "n_bits": 4, "n_squeeze": [1, 0], "n_classes": [20] * 3, "residual": 0, "residual_unit": "range"}
    return parse_parameters(KEYS | small | changed, "test")


def save_run(path, keys=KEYS, seed=0):
    """Save a model that is not trained as a run directory; return its path."""
    runs.save(PixelPyramid(parse_parameters(keys, "test"), seed=seed), path)
    return path


@pytest.fixture
def run(tmp_path):
    return save_run(tmp_path / "run", parameters().model_dump(), seed=5)


def assert_equal_weights(model, other):
    for (key, ours), (same, theirs) in zip(model.state_dict().items(), other.state_dict().items(), strict=True):
        assert key == same and torch.equal(ours, theirs)


def random_images(*shape, n_values=16):
    return torch.randint(0, n_values, shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("norm", ["channel", "group", "batch"])
def test_a_model_is_loaded_as_it_was_saved_last(norm, tmp_path):
    model = PixelPyramid(parameters(norm=norm, residual="value"), seed=3)
    images, run = random_images(4, 3, 9, 7), tmp_path / "new" / "run"
    model.train().rate(images)  # running statistics of their own
    model.eval()
    for saved in (PixelPyramid(parameters(), seed=6), model):  # the second replaces the first
        runs.save(saved, run)
    loaded = runs.load(run)
    assert loaded.config == model.config and not loaded.training
    assert_equal_weights(loaded, model)
    assert torch.equal(loaded.rate(images).nats, model.rate(images).nats)
    assert torch.equal(runs.load(str(run)).sample(2, 8, 8), model.sample(2, 8, 8))


def test_a_run_directory_has_the_documented_files(run):
    assert files(run) == ["level_00.safetensors", "level_01.safetensors", "level_02.safetensors", "parameters.json"]
    content = json.loads((run / "parameters.json").read_text())
    assert content["params"]["n_squeeze"] == [1, 0] and set(content["params"]) == set(Parameters.model_fields)


def test_the_likelihood_can_be_chosen(run, tmp_path):
    exact, authors = runs.load(run), runs.load(run, likelihood="authors")
    assert exact.config.likelihood == "exact"
    assert authors.config.likelihood == "authors" and authors.stages[0].likelihood == "authors"
    assert_equal_weights(exact, authors)
    runs.save(PixelPyramid(parameters(residual="value")), tmp_path / "value")
    with pytest.raises(ParameterError, match='likelihood "authors" is defined for residuals'):
        runs.load(tmp_path / "value", likelihood="authors")
    model = PixelPyramid(parameters(norm="batch", likelihood="authors", residual=0))
    model.train().rate(random_images(4, 3, 8, 8))
    other = runs.with_likelihood(model.eval(), "exact")
    assert other.config.likelihood == "exact"
    assert_equal_weights(other, model)


@pytest.mark.parametrize("missing", [[0], [2], [0, 2], [0, 1, 2]])
def test_levels_without_weights_are_named(run, missing):
    for index in missing:
        runs.level_file(run, index).unlink()
    levels = ",".join(map(str, missing))
    expected = rf"level\(s\) {levels} \(of 3\) have no weights yet; train them with --levels {levels}"
    with pytest.raises(CheckpointError, match=expected):
        runs.load(run)


OURS = ["no json", "[]", "3", "null", '"text"', "[1, 2]", "{}", '{"format": 2, "level": 0}']


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, *({"pixelpyramids": content} for content in OURS)])
def test_foreign_safetensors_are_refused(run, metadata):
    save_file({"weight": torch.zeros(3)}, runs.level_file(run, 0), metadata)
    with pytest.raises(CheckpointError, match=r"level_00\.safetensors: (damaged, or not|expected format 1)"):
        runs.load(run)


def test_weights_of_another_stage_or_model_are_refused(run, tmp_path):
    level = runs.level_file(run, 0)
    for other in (runs.level_file(run, 1), runs.level_file(run, 2)):
        level.write_bytes(other.read_bytes())
        with pytest.raises(CheckpointError, match=r"level_00\.safetensors: expected the weights of level 0, got those"):
            runs.load(run)
    runs.save(PixelPyramid(parameters(C=16)), tmp_path / "wider")
    level.write_bytes(runs.level_file(tmp_path / "wider", 0).read_bytes())
    with pytest.raises(CheckpointError, match=r"level_00\.safetensors: the weights are not those of this run's"):
        runs.load(run)


def test_missing_and_extra_weights_are_refused(run):
    path = runs.level_file(run, 1)
    tensors, _ = runs.read_tensors(path)
    first = next(iter(tensors))
    for changed in ({k: v for k, v in tensors.items() if k != first}, tensors | {"surprise": torch.zeros(2)}):
        runs.save_tensors(path, changed, {"level": 1})
        with pytest.raises(CheckpointError, match=f"the weights are not those.*({first}|surprise)") as caught:
            runs.load(run)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"params": {}}', '{"params": {"L": 3}}', "\0"])
def test_damaged_parameters_of_a_run_are_a_checkpoint_error(run, content):
    (run / "parameters.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"parameters\.json: "):
        runs.load(run)


def test_folders_and_files_that_are_no_run_are_refused(run, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"empty: expected a run directory, but it holds no parameters\.json"):
        runs.load(tmp_path / "empty")
    for path in (tmp_path / "nowhere", run / "parameters.json"):
        with pytest.raises(CheckpointError, match="found none; check the name"):
            runs.load(path)


def test_the_authors_file_is_loaded_with_its_parameters(tmp_path):
    stages, config = checkpoint(8, "celeba_256")
    path = save_checkpoint(tmp_path / "a.pt", stages)
    params = write_params(tmp_path / "p.json", config.model_dump(mode="json", exclude_unset=True))
    with pytest.raises(CheckpointError, match=r"a\.pt: expected the parameter file it was trained with"):
        runs.load(path)
    expected, images = convert(stages, config, "test").model, random_images(2, 3, 8, 8, n_values=256)
    theirs, exact = runs.load(path, params), runs.load(path, params, likelihood="exact")
    assert torch.equal(theirs.rate(images).nats, expected.rate(images).nats)
    assert (theirs.config.likelihood, exact.config.likelihood) == ("authors", "exact")
    assert_equal_weights(exact, expected)
    runs.save(theirs, tmp_path / "run")
    again = runs.load(tmp_path / "run")
    assert again.config == expected.config
    assert torch.equal(again.rate(images).nats, expected.rate(images).nats)


def test_tensors_and_metadata_come_back(tmp_path):
    tensors = {
        "a": torch.randn(3, 4, dtype=torch.float64),
        "transposed": torch.randn(5, 2).T,
        "last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "count": torch.tensor(7),
        "half": torch.randn(4).bfloat16(),
        "empty": torch.zeros(0, 3),
    }
    runs.save_tensors(tmp_path / "deep" / "t.safetensors", tensors, {"step": 3, "best": [1.5, None]})
    found, metadata = runs.read_tensors(tmp_path / "deep" / "t.safetensors")
    assert metadata == {"format": runs.WEIGHTS_FORMAT, "step": 3, "best": [1.5, None]}
    assert found.keys() == tensors.keys()
    for key, value in tensors.items():
        assert found[key].dtype == value.dtype and torch.equal(found[key], value)


def test_tensors_do_not_depend_on_the_file_after_reading(tmp_path):
    path = tmp_path / "x.safetensors"
    runs.save_tensors(path, {"a": torch.arange(4096.0)})
    tensors, _ = runs.read_tensors(path)
    with open(path, "rb+") as file:  # a memory map would change
        file.seek(-8192, os.SEEK_END)
        file.write(bytes(8192))
    assert torch.equal(tensors["a"], torch.arange(4096.0))


@pytest.mark.parametrize("before", ["nothing", "a folder", "what a killed process left"])
def test_a_free_folder_can_be_claimed_and_claimed_again(before, tmp_path):
    run = tmp_path / "run"
    if before != "nothing":
        run.mkdir()
    if before == "what a killed process left":
        (run / ".parameters.json.abc123.part").write_text("{")
    config = parameters(data_root="here", epochs=3)
    runs.claim(run, config)
    # Data and epochs may differ, and defaults may be written out.
    runs.claim(run, parameters(data_root="there", epochs=4, learning_rate=config.learning_rate, image_channels=3))
    assert runs.read_parameters(run) == config


@pytest.mark.parametrize(
    "changed, named",
    [
        ({"C": 16}, "C"),
        ({"n_bits": 5}, "n_bits"),
        ({"norm": "group", "batch_size": 3}, "batch_size, norm"),
        ({"learning_rate": 0.5}, "learning_rate"),
        ({"residual": 3}, "residual"),
    ],
)
def test_a_run_is_not_resumed_with_other_parameters(changed, named, tmp_path):
    run = tmp_path / "run"
    runs.claim(run, parameters())
    with pytest.raises(CheckpointError, match=f"its parameters.json differs in {named}; use another run directory"):
        runs.claim(run, parameters(**changed))
    assert runs.read_parameters(run) == parameters()


def test_a_file_and_a_folder_of_other_files_cannot_be_claimed(tmp_path):
    (tmp_path / "holiday.jpg").touch()
    for place in (tmp_path, tmp_path / "holiday.jpg"):
        with pytest.raises(CheckpointError, match="expected a new or empty folder, or a run directory to resume"):
            runs.claim(place, parameters())
    assert files(tmp_path) == ["holiday.jpg"]


def test_of_two_processes_that_claim_a_run_at_once_one_is_refused(tmp_path, monkeypatch):
    write = runs.write_parameters

    def write_second(run, config, new=False):
        write(run, parameters(n_bits=5))
        write(run, config, new)

    monkeypatch.setattr(runs, "write_parameters", write_second)
    with pytest.raises(CheckpointError, match="differs in n_bits"):
        runs.claim(tmp_path / "run", parameters())
    assert runs.read_parameters(tmp_path / "run") == parameters(n_bits=5)


def test_the_cut_line_of_a_killed_process_is_skipped_in_the_log(tmp_path):
    path = runs.log_file(tmp_path, 3)
    path.parent.mkdir()
    path.write_text('{"step": 10, "nats": 1.5}\n{"step": 20, "nats": 1.25}\n{"step": 30, "na')
    assert [entry["step"] for entry in runs.read_log(tmp_path, 3)] == [10, 20]


@pytest.mark.parametrize("content", [b"", b"\0" * 9, b"\x8a\n", b"-1"])
def test_a_damaged_seed_is_named(content, tmp_path):
    runs.claim_seed(tmp_path, 3)
    runs.claim_seed(tmp_path, 3)
    with pytest.raises(CheckpointError, match="the run has the seed 3, got 4"):
        runs.claim_seed(tmp_path, 4)
    (tmp_path / "training" / "seed").write_bytes(content)
    with pytest.raises(CheckpointError, match="seed: damaged; write the seed of the run into it"):
        runs.claim_seed(tmp_path, 3)
