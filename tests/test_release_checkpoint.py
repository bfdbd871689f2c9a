"""The authors' `.pt` files are read with their averages, and other files are refused without running their code."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from test_vectors import read_vectors

from pixelpyramids.errors import CheckpointError
from pixelpyramids.model.parameters import parse_parameters
from pixelpyramids.model.release_checkpoint import calibrate, convert, read_checkpoint

STEP = 1234


def checkpoint(bits=5, dataset_name="lsun_bedroom"):
    """State dicts as the release saves them, and the parameters of their file."""
    _, config, stages = read_vectors(bits, narrow)
    return stages, parse_parameters(config | {"dataset_name": dataset_name, "batch_size": 4}, "test")


def narrow(keys):
    """The same keys with a ConvLSTM of width 8 instead of 128, which is faster."""
    sizes = {512: 32, 128: 8}
    inner = "conv_lstm_enc.prior_lstm."
    small = {}
    for key, shape in keys.items():
        small[key] = [sizes.get(size, size) for size in shape] if key.startswith(inner) else shape
    return small


def is_buffer(key):
    return key.rpartition(".")[2] in ("running_mean", "running_var", "num_batches_tracked")


def optimiser(averages, dead=()):
    """The state of the release's optimiser: averages that start at zero, numbered over the parameters of all stages."""
    entries, count = {}, 0
    for index, stage in enumerate(averages):
        for key, value in stage.items():
            if is_buffer(key):
                continue
            average = {"step": STEP, "ema": (1 - 0.9995**STEP) * value, "exp_avg": torch.zeros_like(value)}
            entries[count] = {"ema": torch.zeros_like(value)} if (index, key) in dead else average
            count += 1
    return {"state": entries, "param_groups": [{"lr": 5e-4, "params": list(range(count))}]}


def dead_keys(stages, parameters):
    """The keys of layers that reach no output.

    They are the block `conv` in every `downs`, the ConvLSTM if the U-Net gives the output, and stream ul of the
    coarsest stage except its input and its last layer.
    """
    found = set()
    for index, stage in enumerate(stages[:-1]):
        for key in stage:
            dead_block = key.startswith("downs.") and key.split(".")[2] == "conv"
            if dead_block or (parameters.n_squeeze[index] == 0 and key.startswith("conv_lstm_enc.")):
                found.add((index, key))
    positions = {int(key.split(".")[1]) for key in stages[-1] if key.startswith("down_ul_modules.")}
    for key in stages[-1]:
        if re.match(r"(up|down)_ul_modules", key) and not key.startswith(f"down_ul_modules.{max(positions)}."):
            found.add((len(stages) - 1, key))
    return found


def save_checkpoint(path, stages, prefix="", **others):
    content = {index: {prefix + key: value for key, value in stage.items()} for index, stage in enumerate(stages)}
    torch.save(content | {"optim": {"state": {}}, "sched": {"last_epoch": 3}} | others, path)
    return path


def assert_same_weights(model, other):
    ours, theirs = model.state_dict(), other.state_dict()
    assert ours.keys() == theirs.keys()
    for key in ours:
        torch.testing.assert_close(ours[key], theirs[key], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("bits", [5, 8])
def test_a_file_is_read_as_the_model_of_its_state_dicts(bits, prefix, tmp_path):
    stages, parameters = checkpoint(bits)
    imported = read_checkpoint(save_checkpoint(tmp_path / "a.pt", stages, prefix), parameters)
    expected = convert(stages, parameters, "test")
    assert imported.unused == expected.unused and imported.model.config == expected.model.config
    for ours, theirs in zip(imported.model.parameters(), expected.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    images = torch.randint(0, parameters.n_values, (2, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    assert torch.equal(imported.model.rate(images).nats, expected.model.rate(images).nats)
    assert not imported.model.training


def test_the_parameters_have_the_releases_settings_and_the_sizes_of_the_tensors():
    for dataset_name, bits, shift in [("celeba_256", 8, 128), ("celeba_256", 5, 0), ("lsun_tower", 8, 0)]:
        stages, parameters = checkpoint(bits, dataset_name)
        config = convert(stages, parameters, "test").model.config
        assert (config.norm, config.likelihood, config.residual) == ("batch", "authors", shift)
    stages, parameters = checkpoint(5)
    wrong = parameters.model_copy(update={"C": 64, "n_channels": 96, "n_res_layers": 5, "n_layers": None})
    config = convert(stages, wrong, "test").model.config
    assert (config.C, config.n_channels, config.n_res_layers) == (8, 8, 2) and config.n_layers == (3, 2, 1, 1)
    assert (config.condition_channels, config.lstm_channels, config.image_channels) == (100, 8, 3)
    assert [config.outputs(stage) for stage in range(5)] == [50, 40, 100, 30, 50]


def test_every_key_is_used_or_reported():
    stages, parameters = checkpoint(5)
    imported = convert(stages, parameters, "test")
    expected = {f"{index}: {key}" for index, key in dead_keys(stages, parameters)}
    assert parameters.n_squeeze[2] == 0
    assert any("2: conv_lstm_enc" in key for key in expected) and any("0: downs.0.conv." in key for key in expected)
    assert sorted(imported.unused) == sorted(expected)
    extra = [stages[0] | {"surprise.weight": torch.zeros(3)}, *stages[1:]]
    assert set(convert(extra, parameters, "test").unused) == expected | {"0: surprise.weight"}
    without = [dict(stage) for stage in stages]
    for index, key in dead_keys(stages, parameters):
        if key.startswith("downs."):
            del without[index][key]
    assert_same_weights(convert(without, parameters, "t").model, imported.model)


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("bits", [5, 8])
def test_averaged_weights_come_from_the_optimiser(bits, prefix, tmp_path):
    stages, parameters = checkpoint(bits)
    generator = torch.Generator().manual_seed(1)
    averages = [
        {
            key: value if is_buffer(key) else torch.randn(value.shape, generator=generator)
            for key, value in stage.items()
        }
        for stage in stages
    ]
    kept = optimiser(averages, dead_keys(stages, parameters))
    path = save_checkpoint(tmp_path / "a.pt", stages, prefix, optim=kept)
    assert_same_weights(
        read_checkpoint(path, parameters, averaged=True).model, convert(averages, parameters, "t").model
    )
    assert_same_weights(read_checkpoint(path, parameters).model, convert(stages, parameters, "t").model)


@pytest.mark.parametrize(
    "kept", [None, {}, {"state": {}}, {"state": {0: {"step": 3}}}, [1], {"state": {0: {"step": 0}}}]
)
def test_missing_averages_and_averages_of_another_shape_are_refused(kept, tmp_path):
    stages, parameters = checkpoint(8)
    path = save_checkpoint(tmp_path / "a.pt", stages, optim=kept)
    with pytest.raises(CheckpointError, match=r"a\.pt: expected averaged weights in optim\['state'\]"):
        read_checkpoint(path, parameters, averaged=True)
    kept = optimiser(stages)
    kept["state"][1]["ema"] = torch.zeros(5)
    path = save_checkpoint(tmp_path / "a.pt", stages, optim=kept)
    with pytest.raises(CheckpointError, match=r"average of inc.* to be .* of shape \(8,\), got \(5,\)"):
        read_checkpoint(path, parameters, averaged=True)


def grow(state, key):
    state[key] = torch.zeros([size + 1 for size in state[key].shape] or [2])


def reduce_to_one_value(state, key):
    """To a shape that could be broadcast."""
    state[key] = torch.zeros([1] * max(state[key].ndim, 1))


@pytest.mark.parametrize("change", [dict.pop, grow, reduce_to_one_value])
def test_each_weight_that_is_missing_or_of_another_shape_is_an_error(change):
    """One key of each kind is changed at a time."""
    stages, parameters = checkpoint(8)
    dead = dead_keys(stages, parameters)
    living = ((index, key) for index, stage in enumerate(stages) for key in stage if (index, key) not in dead)
    for index, key in {(index, re.sub(r"\d+", "#", key)): (index, key) for index, key in living}.values():
        other = [dict(stage) for stage in stages]
        change(other[index], key)
        with pytest.raises(CheckpointError, match=r"^a\.pt: "):
            convert(other, parameters, "a.pt")


@pytest.mark.parametrize("levels", [2, 4, 6])
def test_another_number_of_stages_is_refused(levels, tmp_path):
    stages, parameters = checkpoint(5)
    path = save_checkpoint(tmp_path / "a.pt", stages)
    entries = {"n_squeeze": [1] * 6, "n_classes": [50] * 7, "n_layers": [1] * 6}
    other = parse_parameters(parameters.model_dump() | entries | {"L": levels}, "test")
    with pytest.raises(CheckpointError, match=rf"stages 0 to {levels - 1} \(L = {levels}\), got 5 stages"):
        read_checkpoint(path, other)


def test_parameters_that_need_a_missing_conv_lstm_are_refused(tmp_path):
    stages, parameters = checkpoint(5)
    parameters = parameters.model_copy(update={"n_squeeze": (2, 1, 1, 1)})
    lacking = [
        {key: value for key, value in stage.items() if i != 2 or not key.startswith("conv_lstm_enc")}
        for i, stage in enumerate(stages)
    ]
    with pytest.raises(CheckpointError, match=r"conv_out1\.bias"):
        read_checkpoint(save_checkpoint(tmp_path / "a.pt", lacking), parameters)


@pytest.mark.parametrize(
    "content",
    [
        [1, 2],
        torch.zeros(3),
        {},
        {0: {}, 1: {}, 2: {}},
        {0: [], 1: [], 2: []},
        {0: {"a": 1}, 1: {}, 2: {}},
        {0: {5: torch.zeros(1)}, 1: {}, 2: {}},
        {"0": {}, "1": {}, "2": {}},
        "text",
        None,
    ],
    ids=str,
)
def test_torch_files_of_other_content_are_refused(content, tmp_path):
    _, parameters = checkpoint(8)
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"a\.pt: "):
        read_checkpoint(tmp_path / "a.pt", parameters)


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_file_that_would_run_code_is_refused_and_not_run(tmp_path):
    stages, parameters = checkpoint(8)
    trap = tmp_path / "sprung"
    for place in ({"sched": Trap(trap)}, {0: {"inc.double_conv.0.weight": Trap(trap)}}):
        path = tmp_path / "a.pt"
        torch.save(dict(enumerate(stages)) | place, path)
        with pytest.raises(CheckpointError, match=r"refused, because it holds more than tensors .* would run code"):
            read_checkpoint(path, parameters)
        assert not trap.exists()


@pytest.mark.parametrize(
    "content", [b"hello world", b"\x80\x02", b"\x80\x02}", b"PK\x03\x04" + bytes(100), bytes(1000)], ids=range(5)
)
def test_the_error_for_a_foreign_file_does_not_mention_code(content, tmp_path):
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"a\.pt: ") as caught:
        read_checkpoint(tmp_path / "a.pt", checkpoint(8)[1])
    assert "run code" not in str(caught.value)


def test_damage_anywhere_in_the_pickle_is_refused_or_harmless(tmp_path):
    stages, parameters = checkpoint(8)
    path = save_checkpoint(tmp_path / "a.pt", stages)
    content, rng = path.read_bytes(), np.random.default_rng(0)
    start = content.index(b"data.pkl")
    for _ in range(60):
        damaged = bytearray(content)
        for place in start + rng.integers(0, 20_000, 3):
            damaged[place] ^= rng.integers(1, 256)
        path.write_bytes(bytes(damaged))
        try:
            read_checkpoint(path, parameters)
        except CheckpointError as error:
            assert str(error).startswith(f"{path}: ")


def test_calibrated_statistics_are_means_over_the_batches():
    stages, parameters = checkpoint(8)
    model = convert(stages, parameters, "test").model
    generator = torch.Generator().manual_seed(0)
    batches = [torch.randint(0, 256, (3, 3, 8, 8), generator=generator) for _ in range(4)]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    calibrated = calibrate(model, batches)
    assert not calibrated.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(torch.equal(a, b) for a, b in zip(calibrated.parameters(), model.parameters(), strict=True))
    unet = model.stages[0].network.unet
    means, variances = [], []
    for batch in batches:
        coarse = batch[..., 1::2, :].float() * 2 / 255 - 1
        maps = unet.stem.conv1(coarse).transpose(0, 1).flatten(1)
        means.append(maps.mean(1))
        variances.append(maps.var(1))
    found = calibrated.stages[0].network.unet.stem.norm1
    torch.testing.assert_close(found.running_mean, torch.stack(means).mean(0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.running_var, torch.stack(variances).mean(0), rtol=1e-4, atol=1e-5)
