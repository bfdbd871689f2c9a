"""The compact network: its walk, its two forms, its integers in torch and in the codec, and its training."""

import itertools
from functools import cache

import numpy as np
import pytest
import torch
from command_line import refusal, status
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import write_images

import pixelpyramids as pp
from pixelpyramids.codec.coder import Symbols
from pixelpyramids.codec.compact_model import CompactModel, octave_images
from pixelpyramids.codec.engine import Coding
from pixelpyramids.codec.integer_network import load_network
from pixelpyramids.codec.memory import Inheritance, initial_memory
from pixelpyramids.codec.native import NativeEngine
from pixelpyramids.codec.parts import list_parts
from pixelpyramids.data.crops import Crops
from pixelpyramids.data.folder import open_folder
from pixelpyramids.errors import CheckpointError, DataError
from pixelpyramids.model.models import new_model
from pixelpyramids.model.networks.compact import IntegerConv
from pixelpyramids.model.parameters import parse_parameters
from pixelpyramids.pyramid import octaves
from pixelpyramids.pyramid.splitting import pad_coarse
from pixelpyramids.training import run_directory
from pixelpyramids.training.integer_weights import export_integers
from pixelpyramids.training.loop import Training
from pixelpyramids.training.progress import Budget

KEYS = {
    "kind": "compact", "dataset_name": "compact", "batch_size": 2, "n_bits": 8, "width": 8, "trunk_blocks": 2,
    "head_blocks": 1, "components": 5, "crop_size": 24, "warmup_steps": 2,
}  # fmt: skip
SIZES = [(1, 1), (1, 2), (7, 1), (3, 3), (9, 14), (33, 20)]


@pytest.fixture
def model():
    """Random weights, large enough that activations reach both ends of their range."""
    model = new_model(parse_parameters(KEYS, "test"))
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, IntegerConv):
            scale = 0.3 if module.kernel_size == (3, 3) else 0.05
            module.weight.data = scale * torch.randn(module.weight.shape, generator=generator)
            module.bias.data += 0.2 * torch.randn(module.bias.shape, generator=generator)
    return model


def images(batch, height, width, seed=0):
    rng = np.random.default_rng(seed)
    smooth = rng.normal(0, 6, (batch, 3, height, width)).cumsum(2).cumsum(3) / 4
    return torch.from_numpy(np.clip(smooth + 128, 0, 255).astype(np.int64))


def walk_slices(model, truth, visit):
    """Go through the slices with the true values; `visit` receives each slice's values, outputs and offset."""
    pyramid = octave_images(truth)

    def code(octave, band_slice, outputs, offset):
        values = pyramid[octave]
        if band_slice is not None:
            values = getattr(octaves.bands(values), band_slice.band)[(..., *band_slice.lattice.sites)]
        visit(values, outputs, offset)
        return values

    with torch.no_grad():
        return model.stage.follow(len(truth), *truth.shape[-2:], code)


@pytest.mark.parametrize("size", [*SIZES, (64, 65)])
def test_the_slices_of_an_image_hold_each_pixel_once_in_the_order_of_the_codec(size, model, tmp_path):
    numbers = np.arange(size[0] * size[1]).reshape(1, *size)
    slices, coded = [], []
    whole = torch.from_numpy(np.broadcast_to(numbers, (1, 3, *size)).copy())
    assert torch.equal(walk_slices(model, whole, lambda values, _o, _b: slices.append(values[0, 0].flatten())), whole)
    in_torch = torch.cat(slices).numpy()
    assert sorted(in_torch) == list(range(numbers.size)) and len(slices) == model.config.count_steps(*size)
    walk_parts(codec_of(model, tmp_path), whole, lambda _, values: coded.append(values[0].ravel()))
    assert np.array_equal(np.concatenate(coded), in_torch)


@settings(max_examples=50)
@given(st.integers(1, 40), st.integers(1, 40))
def test_merged_bands_give_the_image(height, width):
    image = np.random.default_rng(0).integers(0, 256, (3, height, width)).astype(np.uint16)
    bands = octaves.bands(image)
    assert [band.shape[-2:] for band in bands[1:]] == list(octaves.fine_shapes(height, width))
    assert bands.oo.shape[-2:] == octaves.coarse_size(height, width)
    assert np.array_equal(octaves.merge_bands(bands, height, width), image)


def test_companding_keeps_signs_and_order():
    quarters = np.arange(-1100, 1101).reshape(1, 1, -1)
    plus, minus = octaves.compand(quarters, 0)
    assert np.array_equal(plus, minus[:, ::-1]) and plus.min() == 0 and plus.max() == 255
    assert (np.diff(plus[0]) >= 0).all() and not plus[0, :1101].any()
    assert np.array_equal(plus[0, 1100 : 1100 + 97], np.arange(97))
    assert np.array_equal(octaves.compand(quarters << 4, 4), octaves.compand(quarters, 0))
    assert np.array_equal(octaves.compand(quarters, -2), octaves.compand(quarters << 2, 0))


@pytest.mark.parametrize("size", SIZES)
def test_the_stepwise_form_equals_the_parallel_one(size, model):
    truth, nats = images(2, *size), []

    def score(values, outputs, offset):
        nats.append(-model.stage._mixture(outputs.double()).log_prob(values, offset, 256).sum(dim=(1, 2)))

    assert torch.equal(walk_slices(model, truth, score), truth)
    torch.testing.assert_close(torch.stack(nats).sum(0), model.rate(truth).nats[:, 0], rtol=1e-12, atol=1e-12)


def plain_nats(stage, image):
    """The nats of all octaves but the coarsest pixels, with nothing but operations that autograd knows."""
    total, pyramid = 0.0, octave_images(image)
    for fine, coarse in itertools.pairwise(pyramid):
        height, width = fine.shape[-2:]
        bordered = octaves.add_border(pad_coarse(coarse, (-(-height // 2), -(-width // 2))))
        features = stage.network.trunk(octaves.trunk_inputs(bordered, 8, 0).float())
        steps = octaves.follow(bordered, features, octaves.fine_shapes(height, width), 0)
        step = next(steps)
        while step is not None:
            head, part = stage.network.heads[step.number], octaves.SLICES[step.number]
            outputs = 128 * head.last(head.body(octaves.join_inputs(step.inputs, *step.size)))
            outputs = outputs[..., : step.base.shape[-2], : step.base.shape[-1]]
            values = getattr(octaves.bands(fine), part.band)[(..., *part.lattice.sites)]
            total = total - stage._mixture(outputs).log_prob(values, step.base / 4, 256).sum()
            try:
                step = steps.send(values)
            except StopIteration:
                step = None
    return total


@pytest.mark.parametrize("size", [(3, 3), (9, 14), (33, 20)])
def test_gradients_are_those_of_plain_operations(size, model):
    image, weights = images(2, *size), list(model.stage.parameters())
    expected = torch.autograd.grad(plain_nats(model.stage, image), weights)
    found = torch.autograd.grad(model.stage(image).sum(), weights)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5 * float(other.abs().max()))


def test_an_images_likelihood_does_not_depend_on_its_batch(model):
    batch = images(3, 20, 24)
    together, alone = model.rate(batch).nats, torch.cat([model.rate(batch[i : i + 1]).nats for i in range(3)])
    assert torch.equal(together, alone)


@pytest.mark.parametrize("size", SIZES)
def test_torch_gives_the_integers_of_the_codec(size, model, tmp_path):
    image, of_torch, of_codec = images(1, *size), [], []
    walk_slices(model, image, lambda _, o, b: of_torch.append((o[0].permute(1, 2, 0).numpy(), 4 * b[0].numpy())))
    walk_parts(codec_of(model, tmp_path), image, lambda model, _: of_codec.append((model.outputs, model.bases)))
    assert len(of_torch) == len(of_codec)
    for (outputs, bases), (integers, quarters) in zip(of_torch, of_codec, strict=True):
        assert np.array_equal(outputs, integers) and np.array_equal(bases, quarters)


@pytest.mark.parametrize("size", [(33, 20), (64, 64)])
def test_the_coders_length_is_that_of_the_float_model(size, model, tmp_path):
    """Each row is coded by itself, so that nothing is learnt."""
    image, bits, codec = images(1, *size), [], codec_of(model, tmp_path)

    def add(model, values):
        for y in range(len(model.outputs)):
            row = Symbols(codec.engine)
            lines = model._replace(outputs=model.outputs[y : y + 1], bases=model.bases[:, y : y + 1])
            row.add(lines._replace(memory=initial_memory(codec.components, 0)), values[:, y : y + 1])
            bits.append(row.bits())

    walk_parts(codec, image, add)
    assert sum(bits) * np.log(2) == pytest.approx(float(model.rate(image).nats.sum()), rel=2e-3)


def test_the_rate_is_the_length_of_what_the_coder_writes(model, tmp_path):
    image, codec = images(1, 70, 66), codec_of(model, tmp_path)
    rate, pyramid = codec.rate(image.numpy()), octave_images(image[0].numpy().astype(np.uint16))
    assert rate.dimensions.sum() == image.numel()
    written, parts = [], list_parts(70, 66)
    line = Inheritance(parts, codec.components, 0)
    for number, part in enumerate(parts):
        memory = line.begin(number)
        written.append(codec.encode(part, pyramid, format_of((70, 66)), memory))
        line.end(number, memory)
    length = 8 * sum(map(len, written))
    assert 0 <= length - rate.nats.sum() / np.log(2) < 48 * len(written)


def test_random_bits_decode_to_images_as_likely_as_the_model_says(model, tmp_path):
    codec = codec_of(model, tmp_path)
    samples = codec.sample(40, 8, 9, seed=3)
    assert samples.shape == (40, 3, 8, 9) and samples.dtype == np.uint8
    assert np.array_equal(codec.sample(1, 8, 9, seed=3, first=7)[0], samples[7])
    coded = float(codec.rate(samples).bits_per_dim.mean())
    drawn = float(model.rate(model.sample(40, 8, 9, seed=5)).bits_per_dim.mean())
    assert coded == pytest.approx(drawn, abs=0.1)


@given(
    st.integers(1, 9), st.integers(1, 9), st.sampled_from([2, 4, 8]), st.booleans(), st.booleans(), st.integers(0, 99)
)
@settings(max_examples=12)
def test_a_completed_image_holds_the_coarse_one_and_is_keyed_by_seed(height, width, scale, odd, grey, seed):
    """For any size that scales down to the coarse image, in integers and in torch."""
    size = scale * height + odd, scale * width + odd
    coarse = np.random.default_rng(seed).integers(0, 256, (2, 1 if grey else 3, height, width), dtype=np.uint8)
    bundled = pp.load("compact")
    for model, known in ((bundled, coarse), (in_torch(coarse.shape[1]), torch.from_numpy(coarse))):
        completed = model.complete(known, *size, seed=seed)
        assert completed.shape == (2, coarse.shape[1], *size) and type(completed) is type(known)
        assert np.array_equal(completed[..., scale - 1 :: scale, scale - 1 :: scale][..., :height, :width], coarse)
        assert np.array_equal(model.complete(known[1:], *size, seed=seed, first=1), completed[1:])
        if height * width > 4:
            assert not np.array_equal(model.complete(known, *size, seed=seed + 1), completed)
    arrays, tensors = bundled.complete(coarse, *size, seed=3), bundled.complete(torch.from_numpy(coarse), *size, seed=3)
    assert np.array_equal(arrays, tensors) and isinstance(tensors, torch.Tensor) and isinstance(arrays, np.ndarray)


@cache
def in_torch(channels):
    return new_model(parse_parameters(KEYS | {"image_channels": channels}, "test"))


@pytest.mark.parametrize("model", [pp.load("compact"), in_torch(3)])
def test_a_coarse_image_that_no_octave_has_is_refused(model):
    with pytest.raises(DataError, match=r"coarse image of a 9 x 5 image \(4 x 2, 2 x 1, 1 x 1\), got 4 x 3"):
        model.complete(np.zeros((1, 3, 4, 3), np.uint8), 9, 5)
    with pytest.raises(DataError, match=r"image \(none: it has one pixel\), got 1 x 1"):
        model.complete(np.zeros((1, 3, 1, 1), np.uint8), 1, 1)


def test_completions_are_as_likely_as_samples(model, tmp_path):
    codec = codec_of(model, tmp_path)
    samples = codec.sample(40, 16, 18, seed=3)
    completed = codec.complete(samples[..., 3::4, 3::4], 16, 18, seed=4)
    rates = [codec.rate(batch).bits_per_dim.mean() for batch in (samples, completed)]
    assert rates[0] == pytest.approx(rates[1], abs=0.1)


def test_weights_that_could_leave_the_exact_range_and_a_model_of_grey_images_are_not_exported(model, tmp_path):
    model.stages[0].network.trunk[0].bias.data[0] = 4000.0
    model.stages[0].network.trunk[0].weight = torch.nn.Parameter(torch.ones(8, 2000, 3, 3))
    grey = new_model(parse_parameters(KEYS | {"image_channels": 1}, "test"))
    for refused, fault in ((model, "could exceed the range in which sums"), (grey, "image_channels 3, got 1")):
        with pytest.raises(CheckpointError, match=fault):
            export_integers(refused, tmp_path / "x.safetensors")
        assert not (tmp_path / "x.safetensors").exists()


def test_export_writes_integers_that_load(model, tmp_path, capsys):
    run_directory.save(model, tmp_path / "run")
    file = tmp_path / "w.safetensors"
    assert status("export", tmp_path / "run", file) == 0
    assert load_network(file).name.hex() in capsys.readouterr().out
    assert "exists already" in refusal(capsys, "export", tmp_path / "run", file)


def test_the_loop_trains_it_and_a_resumed_training_equals_one_in_one_go(tmp_path):
    data = write_images(tmp_path / "data", count=6, size=(30, 40))
    config = parse_parameters(KEYS, "test")

    def train(run, report=lambda _: None):
        crops = Crops(open_folder(data, "all"), config.image_size, config.batch_size)
        Training(config, tmp_path / run, crops, device="cpu").fit(
            Budget(steps=8), checkpoint_minutes=0.0, report=report
        )
        return run_directory.load(tmp_path / run)

    def killed(report):
        if report.step == 5:
            raise RuntimeError("killed")

    whole = train("whole")
    with pytest.raises(RuntimeError, match="killed"):
        train("parts", killed)
    resumed = train("parts")
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))
    assert len(export_integers(whole, tmp_path / "w.safetensors").name) == 8


def codec_of(model, folder):
    export_integers(model, folder / "weights.safetensors")
    network = load_network(folder / "weights.safetensors")
    return CompactModel(network, NativeEngine(network))


def walk_parts(codec, image, code):
    """Go through the slices of an image (1, 3, H, W) in the codec; `code` receives each slice."""
    size, pyramid = image.shape[-2:], octave_images(image[0].numpy().astype(np.uint16))
    for part in list_parts(*size):
        codec.follow(part, pyramid, format_of(size), initial_memory(codec.components, 0), lambda _: code)


def format_of(size):
    return [Coding(8, 0, 3)] * len(octaves.octave_sizes(*size))
