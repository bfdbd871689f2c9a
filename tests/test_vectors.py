"""Every stored vector of the authors' release: pyramid, logits, nats and bits/dim, with both kinds of statistics.

The plain implementation that benchmarks compare with is held to them too.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.plain import PlainPyramid
from pixelpyramids.model.mixture import clamped_log_prob
from pixelpyramids.model.parameters import parse_parameters
from pixelpyramids.model.release_checkpoint import convert
from pixelpyramids.pyramid.splitting import to_residual

VECTORS = Path(__file__).parent / "vectors"
VARIANTS = {"celeba_256": "celeba_256", "celeba_1024_lsun": "lsun_bedroom"}


def seeded_weights(keys, seed):
    """The weights that the vectors were computed on, by the recipe of the reference."""
    rng = np.random.Generator(np.random.PCG64(seed))
    state = {}
    for key in sorted(keys):
        shape, last = tuple(keys[key]), key.rsplit(".", 1)[-1]
        if last == "num_batches_tracked":
            state[key] = torch.zeros((), dtype=torch.long)
            continue
        u = rng.random(shape)
        if last in ("running_var", "weight_g"):
            value = 0.5 + u
        elif last in ("bias", "running_mean") or last.startswith("bias_"):
            value = 0.4 * (u - 0.5)
        elif len(shape) == 1:
            value = 0.5 + u
        else:
            gain = 16 if "conv_out1" in key else 5 if ".lstm." in key else 2.6
            value = gain * (u - 0.5) * np.sqrt(3 / np.prod(shape[1:]))
        state[key] = torch.from_numpy(np.asarray(value, dtype=np.float32))
    return {key: state[key] for key in keys}


def read_vectors(bits, narrow=lambda keys: keys):
    """The stored vectors, the keys of their parameters, and the state dict of each stage."""
    vectors = np.load(VECTORS / f"vectors_{bits}bit.npz")
    config = json.loads(str(vectors["config"]))
    keys, seed = config.pop("keys"), config.pop("seed")
    return vectors, config, [seeded_weights(narrow(stage), seed + i) for i, stage in enumerate(keys)]


def reference(bits, variant):
    vectors, config, stages = read_vectors(bits)
    parameters = parse_parameters(config | {"dataset_name": VARIANTS[variant], "batch_size": 4}, "vectors")
    images = torch.from_numpy(vectors["images"]).permute(0, 3, 1, 2).long()
    return vectors, convert(stages, parameters, "vectors"), images


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("bits", [5, 8])
def test_the_split_and_shift_are_those_of_the_loaders(bits, variant):
    vectors, imported, images = reference(bits, variant)
    config = imported.model.config
    for index, (fine, coarse) in config.decompose(images).items():
        if coarse is None:
            continue
        expected = torch.from_numpy(vectors[f"{variant}/fine_{index}"].astype(np.int64)).permute(0, 3, 1, 2)
        assert torch.equal(to_residual(fine, coarse, config.n_values, config.residual), expected)
        assert np.array_equal(coarse.permute(0, 2, 3, 1), vectors[f"{variant}/coarse_{index}"])


@pytest.mark.parametrize("mode, tolerance", [("eval", 3e-5), ("train", 1e-4)])
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("bits", [5, 8])
def test_logits_and_bits_per_dim(bits, variant, mode, tolerance):
    vectors, imported, images = reference(bits, variant)
    model = imported.model.train(mode == "train")
    name = f"{variant}/{mode}"
    outputs = {}
    for index, stage in enumerate(model.stages):
        stage.network.register_forward_hook(lambda _m, _i, out, index=index: outputs.__setitem__(index, out))
    rate = model.rate(images)
    for index in range(model.config.L):
        logits = outputs[index].detach().double().numpy()
        np.testing.assert_allclose(logits[0, :, :4, :4], vectors[f"{name}/logits_{index}"], rtol=0, atol=tolerance)
        sites = logits.shape[-1] * logits.shape[-2]
        mean = vectors[f"{name}/logits_sum_{index}"] / sites
        np.testing.assert_allclose(logits.mean(axis=(2, 3)), mean, rtol=0, atol=tolerance)
        share = rate.dimensions[0, index] / rate.dimensions[0].sum()
        per_dim = np.log(2) * rate.dimensions[0, index].item()
        difference = (rate.nats[:, index].numpy() - vectors[f"{name}/nats_{index}"]) / per_dim * share.item()
        assert np.abs(difference).max() < 5e-5
    np.testing.assert_allclose(rate.bits_per_dim, vectors[f"{name}/bits_per_dim"], rtol=0, atol=5e-5)


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("bits", [5, 8])
def test_the_plain_implementation_computes_them(bits, variant, mode):
    vectors, config, stages = read_vectors(bits)
    shift = 128 % 2**bits if VARIANTS[variant] == "celeba_256" else 0
    model = PlainPyramid(**config, shift=shift).train(mode == "train")
    for stage, weights in zip(model.stages, stages, strict=True):
        stage.load_state_dict(weights)
    images = torch.from_numpy(vectors["images"]).permute(0, 3, 1, 2)
    with torch.no_grad():
        found = model.nats(images).double().sum(1).numpy() / (np.log(2) * images[0].numel())
    np.testing.assert_allclose(found, vectors[f"{variant}/{mode}/bits_per_dim"], rtol=0, atol=5e-5)


@pytest.mark.parametrize("scale", [1, 10, 100])
@pytest.mark.parametrize("components", [3, 10])
@pytest.mark.parametrize("bits", [5, 8])
def test_clamped_likelihood(bits, components, scale):
    vectors = np.load(VECTORS / "vectors_loss.npz")
    name = f"bits{bits}_k{components}_x{scale}"
    outputs = torch.from_numpy(vectors[f"{name}/outputs"])
    values = torch.from_numpy(vectors[f"{name}/values"].astype(np.int64))
    nats = -clamped_log_prob(outputs, values, 2**bits)[0].numpy()
    difference = np.abs(nats - vectors[f"{name}/nats"])
    assert (difference < 5e-3).mean() >= 0.99
    assert difference.max() < 0.2
