"""Scoring in parallel equals scoring slice by slice, samples follow the scores, and probabilities sum to one."""

import copy
import itertools
import pickle
import re

import numpy as np
import pytest
import scipy.stats
import torch
from command_line import KEYS

from pixelpyramids.errors import DataError
from pixelpyramids.model.image_model import Uniforms
from pixelpyramids.model.networks.pixel_cnn import PixelCNN
from pixelpyramids.model.parameters import outputs_per_component, parse_parameters
from pixelpyramids.model.pixel_pyramid import PixelPyramid
from pixelpyramids.pyramid.splitting import pad_coarse

NORMS = ("channel", "group", "batch")
RESIDUALS = ("centred", "value", 0)
SIZES = [(1, 1), (1, 5), (6, 1), (3, 4), (7, 5), (12, 2), (9, 13)]


def tiny(dtype=torch.float64, **changed):
    """A small model with random weights everywhere, so that every dependency of the architecture shows."""
    keys = KEYS | {"batch_size": 1, "n_bits": 3, "n_squeeze": [1, 2, 1, 0]} | changed
    if "n_classes" not in changed:
        keys["n_classes"] = keys["L"] * [2 * outputs_per_component(keys.get("image_channels", 3))]
    model = PixelPyramid(parse_parameters(keys, "tiny"))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=generator))
        for name, statistic in model.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                statistic.add_(0.3 * torch.rand(statistic.shape, generator=generator))
    return model.to(dtype)


def random_images(model, batch, height, width, seed=0):
    shape = (batch, model.config.image_channels, height, width)
    return torch.randint(0, model.config.n_values, shape, generator=torch.Generator().manual_seed(seed))


def walk_with_nats(model, batch, size, choose_values):
    """The images of the values that are chosen slice by slice, and their nats (batch, levels)."""
    nats = torch.zeros(batch, model.config.L, dtype=torch.float64)

    def choose(stage, slice_, outputs, offset):
        values = choose_values(stage, slice_, outputs, offset)
        scores = model.stages[stage.index].log_prob(outputs.double(), values, offset)
        nats[:, stage.index] -= scores.sum(dim=(1, 2))
        return values

    return model.follow(model.config.walk(*size), None, batch, choose), nats


def values_of(model, images):
    """A function that chooses the values of these images."""
    pairs = model.config.decompose(images)

    def choose(stage, slice_, _outputs, _offset):
        fine, coarse = pairs[stage.index]
        padded = None if coarse is None else pad_coarse(coarse, fine.shape[-2:])
        return model.stages[stage.index].code(fine, padded)[(..., *slice_.sites)]

    return choose


VARIANTS = [
    *({"norm": norm, "residual": residual} for norm in NORMS for residual in RESIDUALS),
    *({"n_squeeze": 3 * [squeeze]} for squeeze in (0, 1, 2)),
    {"n_layers": [1, 3, 2]},
    {"image_channels": 1, "n_bits": 1},
    {"image_channels": 2, "n_bits": 8, "residual": "value"},
    {"image_channels": 4, "n_bits": 16, "n_res_layers": 2},
    *({"residual": residual, "residual_unit": "range"} for residual in RESIDUALS),
    {"likelihood": "authors", "norm": "batch", "residual": 5, "residual_unit": "range"},
    {"L": 1},
    {"L": 6, "n_squeeze": 5 * [1]},
    {"L": 5, "n_squeeze": [2, 1, 0, 2]},
]


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-6), (torch.float64, 1e-10)])
def test_scoring_all_at_once_equals_scoring_slice_by_slice(variant, dtype, tolerance):
    model = tiny(dtype, **variant)
    for height, width in SIZES if model.config.L > 1 else SIZES[:4]:
        images = random_images(model, 2, height, width)
        rate = model.rate(images)
        again, nats = walk_with_nats(model, 2, (height, width), values_of(model, images))
        assert torch.equal(again, images)
        assert rate.nats.dtype == torch.float64
        # the authors' clamp turns the last bit of a float32 sigmoid into tenths of a nat
        loose = 1e-3 if model.config.likelihood == "authors" else tolerance
        torch.testing.assert_close(nats, rate.nats, rtol=loose, atol=loose)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_nats_computed_while_sampling_equal_the_rate_of_the_sample(variant):
    model = tiny(**variant)
    for height, width in [(1, 1), (3, 5), (8, 6)]:
        sampler = model.sampler(Uniforms(2, model.config.image_channels, seed=4, first=0))
        samples, nats = walk_with_nats(model, 2, (height, width), sampler)
        assert torch.equal(samples, model.sample(2, height, width, seed=4))
        loose = 1e-3 if model.config.likelihood == "authors" else 1e-10
        torch.testing.assert_close(nats, model.rate(samples).nats, rtol=loose, atol=loose)


@pytest.mark.parametrize(
    "channels, bits, levels, size",
    [
        *((1, 1, levels, size) for levels in (2, 3) for size in [(2, 2), (2, 3), (3, 2), (1, 4)]),
        (1, 2, 3, (2, 2)),
        (3, 1, 2, (3, 1)),
    ],
)
@pytest.mark.parametrize(
    "variant", [*VARIANTS[:9], {"n_squeeze": [0, 0]}, {"n_squeeze": [2, 1]}, {"residual_unit": "range"}], ids=str
)
def test_the_probabilities_of_all_images_sum_to_one(variant, channels, bits, levels, size):
    model = tiny(image_channels=channels, n_bits=bits, L=levels, **variant)
    values = itertools.product(range(2**bits), repeat=channels * size[0] * size[1])
    probabilities = torch.exp(-model.rate(torch.tensor(list(values)).reshape(-1, channels, *size)).total_nats)
    assert probabilities.std() > 1e-5
    assert probabilities.sum().item() == pytest.approx(1, abs=1e-6)


def test_samples_are_as_frequent_as_their_probabilities_say():
    model = tiny(image_channels=1, n_bits=1, L=3)
    images = torch.tensor(list(itertools.product((0, 1), repeat=4))).reshape(-1, 1, 2, 2)
    expected = torch.exp(-model.rate(images).total_nats).numpy()
    samples = model.follow(model.config.walk(2, 2), None, 2000, model.sampler(Uniforms(2000, 1, 1, 0))).flatten(1)
    counts = np.bincount((samples * torch.tensor([8, 4, 2, 1])).sum(1), minlength=16)
    assert scipy.stats.chisquare(counts, 2000 * expected / expected.sum()).pvalue > 1e-4


def coarse_images(model, image):
    """The coarse image of each level."""
    return {level: coarse for level, (_, coarse) in model.config.decompose(image).items() if coarse is not None}


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (1, 6), (5, 1), (2, 1)])
@pytest.mark.parametrize("residual", RESIDUALS)
def test_a_completed_image_contains_the_coarse_image_exactly(residual, size):
    model = tiny(L=5, n_squeeze=[1, 2, 0, 1], residual=residual)
    image = random_images(model, 2, *size)
    known = coarse_images(model, image)
    assert known
    for level, coarse in known.items():
        completed = model.complete(coarse, *size, seed=7)
        assert completed.shape == image.shape and completed.dtype == torch.long
        assert completed.min() >= 0 and completed.max() < 8
        assert torch.equal(coarse_images(model, completed)[level], coarse)
        assert torch.equal(completed, model.complete(coarse, *size, seed=7))
    smallest = known[max(known)]
    assert size == (2, 1) or any(
        not torch.equal(model.complete(smallest, *size, seed=s), completed) for s in range(8, 12)
    )


@pytest.mark.parametrize("height, width", [(8, 8), (4, 4), (4, 8), (10, 9), (1, 1)])
def test_a_coarse_image_that_no_level_has_is_refused(height, width):
    model = tiny()
    with pytest.raises(DataError, match=rf"the coarse image of a {height} x {width} image \(.*\), got 4 x 7"):
        model.complete(random_images(model, 1, 4, 7), height, width)
    # The image itself is not a coarse image, and rows that are not split have none.
    with pytest.raises(DataError, match=r"of a 8 x 8 image \(2 x 4, 4 x 4, 4 x 8\), got 8 x 8"):
        model.complete(random_images(model, 1, 8, 8), 8, 8)
    with pytest.raises(DataError, match=r"of a 1 x 8 image \(1 x 4\), got 1 x 8"):
        model.complete(random_images(model, 1, 1, 8), 1, 8)


@pytest.mark.parametrize("call", ["rate", "complete"])
def test_images_that_do_not_fit_the_model_are_refused(call):
    model = tiny()
    do = model.rate if call == "rate" else lambda images: model.complete(images, 8, 4)
    for shape in [(3, 4, 4), (1, 1, 4, 4), (1, 4, 4, 4), (4, 4), (1, 1, 3, 4, 4)]:
        with pytest.raises(DataError, match=r"shape \(batch, 3, height, width\), got \("):
            do(torch.zeros(shape, dtype=torch.long))
    for shape in [(0, 3, 4, 4), (1, 3, 0, 4), (1, 3, 4, 0)]:
        with pytest.raises(DataError, match=rf"at least one image.*{re.escape(str(shape))}"):
            do(torch.zeros(shape, dtype=torch.long))
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.bool, torch.complex64):
        with pytest.raises(DataError, match=rf"integers in \[0, 8\), got {dtype}"):
            do(torch.zeros(1, 3, 4, 4, dtype=dtype))
    for value in (-1, 8, 255):
        images = torch.zeros(1, 3, 4, 4, dtype=torch.long)
        images[0, 1, 2, 3] = value
        low, high = min(value, 0), max(value, 0)
        with pytest.raises(DataError, match=rf"integers in \[0, 8\) \(3 bits\), got values from {low} to {high}"):
            do(images)


def test_all_integer_types_give_the_same_rate_and_arrays_give_arrays():
    model = tiny()
    images = random_images(model, 2, 5, 6)
    rate = model.rate(images)
    for dtype in (torch.uint8, torch.int8, torch.int16, torch.uint16, torch.int32):
        assert torch.equal(model.rate(images.to(dtype)).nats, rate.nats)
    arrays = model.rate(images.numpy())
    assert isinstance(arrays.nats, np.ndarray) and isinstance(arrays.bits_per_dim, np.ndarray)
    assert np.array_equal(arrays.nats, rate.nats) and np.array_equal(arrays.dimensions, rate.dimensions)
    completed = model.complete(images, 10, 6), model.complete(images.numpy(), 10, 6)
    assert isinstance(completed[1], np.ndarray) and np.array_equal(*completed)
    assert completed[1].dtype == np.uint8  # which `save` and `encode` accept


@pytest.mark.parametrize("norm", ["channel", "batch"])
@pytest.mark.parametrize("size", [(3, 4), (5, 7), (1, 1), (4, 6)])
@pytest.mark.parametrize("n_squeeze", [1, 2])
def test_coarse_is_padded_to_the_lattice_by_its_last_lines(n_squeeze, size, norm):
    network = tiny(n_squeeze=3 * [n_squeeze], norm=norm).stages[0].network
    generator = torch.Generator().manual_seed(0)
    fine, coarse = torch.randn(2, 1, 3, *size, dtype=torch.float64, generator=generator)
    edges = [(0, 0), (0, 0), *((0, -side % 2**n_squeeze) for side in size)]
    padded = (torch.from_numpy(np.pad(x, edges, mode=mode)) for x, mode in ((fine, "constant"), (coarse, "edge")))
    expected = network(*padded)[..., : size[0], : size[1]]
    torch.testing.assert_close(network(fine, coarse), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("norm", NORMS)
def test_a_likelihood_depends_on_the_batch_only_by_batch_statistics_in_training(norm, training):
    model = tiny(norm=norm).train(training)
    images = random_images(model, 3, 9, 6)
    images[1] //= 4
    together = model.rate(images).nats
    alone = torch.cat([model.rate(image[None]).nats for image in images])
    dependent = norm == "batch" and training
    assert torch.allclose(together, alone, rtol=1e-10, atol=1e-10) != dependent
    if norm != "batch":
        other_mode = model.train(not training).rate(images.flip(0)).nats.flip(0)
        torch.testing.assert_close(other_mode, together, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", SIZES)
def test_the_dimensions_of_a_rate_are_the_images_subpixels(size):
    model = tiny()
    rate = model.rate(random_images(model, 2, *size))
    assert rate.nats.shape == rate.dimensions.shape == (2, 4)
    assert rate.dimensions.dtype == torch.int64
    assert (rate.dimensions.sum(1) == 3 * size[0] * size[1]).all()
    assert ((rate.nats != 0) == (rate.dimensions != 0)).all()
    expected = rate.nats.sum(1) / (np.log(2) * 3 * size[0] * size[1])
    np.testing.assert_allclose(rate.bits_per_dim, expected, rtol=1e-6)


def test_chosen_levels_are_scored_as_in_the_whole():
    model = tiny()
    images = random_images(model, 2, 8, 7)
    whole = model.rate(images)
    for levels in ([0], [2, 3], [1], []):
        part = model.rate(images, levels)
        for index in range(4):
            chosen = index in levels
            assert torch.equal(part.nats[:, index], whole.nats[:, index] * chosen)
            assert torch.equal(part.dimensions[:, index], whole.dimensions[:, index] * chosen)
    # Levels do not see finer ones.
    other = images.clone()
    other[..., 0::2, :] = 7 - other[..., 0::2, :]  # the finest level's fine half
    assert torch.equal(model.rate(other).nats[:, 1:], whole.nats[:, 1:])
    assert (model.rate(other).nats[:, 0] != whole.nats[:, 0]).all()


@pytest.mark.parametrize("bits", [1, 4, 8, 12, 16])
def test_a_new_model_needs_about_as_many_bits_as_the_depth(bits):
    for residual, unit in itertools.product(RESIDUALS, ("fine", "range")):
        keys = {"n_bits": bits, "residual": residual, "residual_unit": unit, "n_classes": 4 * [50]}
        model = PixelPyramid(parse_parameters(tiny().config.model_dump() | keys, "test"))
        assert model.rate(random_images(model, 2, 16, 16)).nats.isfinite().all()
        smooth = torch.full((1, 3, 16, 16), 2**bits // 2)
        assert model.rate(smooth).bits_per_dim.item() < bits + 1.5


@pytest.mark.parametrize("size", [(4, 4), (5, 3), (1, 4), (4, 1), (1, 1), (6, 7)])
@pytest.mark.parametrize("n_res_layers", [1, 2])
def test_a_pixel_sees_exactly_the_pixels_before_it(n_res_layers, size):
    torch.manual_seed(0)
    network = PixelCNN(image_channels=2, width=6, n_res_layers=n_res_layers, outputs=4).double()
    image = torch.randn(1, 2, *size, dtype=torch.float64, requires_grad=True)
    outputs = network(image)
    assert outputs.shape == (1, 4, *size)
    for position in range(size[0] * size[1]):
        (grad,) = torch.autograd.grad(outputs.flatten(2)[..., position].square().sum(), image, retain_graph=True)
        seen = grad.abs().sum(dim=1).flatten() > 0
        assert not seen[position:].any()
        if position > 0:
            assert seen[position - 1]


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("width", [1, 3, 8, 12, 20, 28, 44])
def test_a_model_can_have_any_width(width, norm):
    model = tiny(C=width, norm=norm, L=2, n_layers=[2])
    assert model.rate(random_images(model, 1, 4, 4)).nats.isfinite().all()


def test_samples_and_completions_are_keyed_by_seed_and_number():
    model = tiny()
    four, coarse = model.sample(4, 6, 5, seed=3), random_images(model, 4, 3, 5)
    assert torch.equal(model.sample(4, 6, 5, seed=3), four)
    assert torch.equal(model.sample(2, 6, 5, seed=3, first=2), four[2:])
    assert torch.equal(model.sample(1, 6, 5, seed=3, first=1), four[1:2])
    assert not torch.equal(model.sample(4, 6, 5, seed=4), four)
    assert len({tuple(image.flatten().tolist()) for image in four}) == 4
    parts = [model.complete(coarse[:3], 6, 5, 2), model.complete(coarse[3:], 6, 5, 2, 3)]
    assert torch.equal(torch.cat(parts), model.complete(coarse, 6, 5, seed=2))


@pytest.mark.parametrize(
    "variant", [{}, {"likelihood": "authors", "norm": "batch", "residual": 0, "residual_unit": "range"}]
)
def test_samples_do_not_depend_on_how_many_are_drawn_at_once(variant, monkeypatch):
    """The patch makes rounding depend on the batch size, as torch's convolutions do."""
    model = tiny(torch.float32, n_bits=8, **variant)
    convolve = torch.nn.Conv2d.forward
    monkeypatch.setattr(torch.nn.Conv2d, "forward", lambda layer, x: convolve(layer, x) + 0.01 * (len(x) - 1))
    whole = model.sample(5, 12, 8)
    for parts in ([1, 4], [2, 3], [1, 1, 1, 1, 1]):
        starts = np.cumsum([0, *parts[:-1]]).tolist()
        drawn = [model.sample(n, 12, 8, first=first) for n, first in zip(parts, starts, strict=True)]
        assert torch.equal(torch.cat(drawn), whole)
    coarse = whole[:3, :, 1::2]
    completed = model.complete(coarse, 12, 8)
    for i in range(3):
        assert torch.equal(model.complete(coarse[i : i + 1], 12, 8, first=i), completed[i : i + 1])


@pytest.mark.parametrize("norm", NORMS)
def test_a_model_is_copied_and_pickled_whole(norm):
    model = tiny(torch.float32, norm=norm)
    images = random_images(model, 2, 9, 6)
    expected = model.rate(images).nats
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(twin.rate(images).nats, expected)
        assert twin.state_dict().keys() == model.state_dict().keys()
        assert all(weight.requires_grad for weight in twin.parameters())
        assert not twin.training and twin.config == model.config
    with torch.no_grad():
        for weight in twin.parameters():
            weight.zero_()
    assert torch.equal(model.rate(images).nats, expected)
    assert pickle.loads(pickle.dumps(model.train())).training


@pytest.mark.parametrize("levels, size", [(1, (4, 4)), (2, (8, 4)), (3, (8, 8)), (4, (16, 8))])
def test_the_default_size_of_samples_is_that_of_the_parameters(levels, size):
    model = tiny(L=levels, lstm_channels=8)
    assert model.sample(1).shape == (1, 3, *size)
    assert model.sample(1, height=2).shape == (1, 3, 2, size[1])


def test_weights_are_keyed_by_seed_and_stage_and_the_global_generator_is_unchanged():
    config, state = tiny().config, torch.get_rng_state()
    tiny().sample(1, 4, 4, seed=3)
    one, again, other = PixelPyramid(config, seed=1), PixelPyramid(config, seed=1), PixelPyramid(config, seed=2)
    for key, weight in one.state_dict().items():
        assert torch.equal(again.state_dict()[key], weight)
    first = {index: stage.network.unet.stem.conv1.weight for index, stage in enumerate(one.stages[:-1])}
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(other.stages[0].network.unet.stem.conv1.weight, first[0])
    # a stage's start does not depend on how many there are
    fewer = PixelPyramid(tiny(L=3).config, seed=1)
    assert torch.equal(fewer.stages[0].network.unet.stem.conv1.weight, first[0])
    assert not one.training and torch.equal(torch.get_rng_state(), state)


def test_batch_statistics_of_a_single_position_are_refused():
    model = tiny(norm="batch").train()
    with pytest.raises(DataError, match="more than one image or position"):
        model.rate(torch.zeros(1, 3, 2, 1, dtype=torch.long))
