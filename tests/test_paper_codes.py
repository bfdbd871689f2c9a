"""The paper's models as codes: an image written stepwise has the length that `rate` says, by constriction and by ours.

No file is made of them: floating point would give other bits on another machine.
"""

import constriction
import numpy as np
import pytest
import torch
from PIL import Image

from pixelpyramids.codec.bundled import load_model
from pixelpyramids.codec.distributions import START, TOTAL
from pixelpyramids.data.crops import Crops
from pixelpyramids.data.folder import open_folder
from pixelpyramids.data.photographs import photographs
from pixelpyramids.model.mixture import paper_mixture
from pixelpyramids.model.parameters import parse_parameters
from pixelpyramids.training import run_directory
from pixelpyramids.training.loop import Training
from pixelpyramids.training.progress import Budget

KEYS = {
    "dataset_name": "tiny", "batch_size": 8, "L": 5, "C": 16, "n_bits": 8, "n_classes": [50] * 5,
    "n_squeeze": [1, 1, 0, 0], "n_channels": 16, "n_res_layers": 1, "condition_channels": 16, "lstm_channels": 16,
    "warmup_steps": 5, "eval_interval": 100,
}  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Trained for a minute's worth of steps on the bundled photographs."""
    config, run = parse_parameters(KEYS, "test"), tmp_path_factory.mktemp("run")
    crops = Crops(open_folder(photographs(), "train"), config.image_size, config.batch_size)
    Training(config, run, crops, device="cpu", bfloat16=False).fit(Budget(steps=60))
    return run_directory.load(run)


@pytest.fixture(scope="module")
def image():
    with Image.open(photographs() / "test" / "china.jpg") as picture:
        pixels = np.asarray(picture.convert("RGB"))[150:230, 300:395]
    return torch.from_numpy(pixels.transpose(2, 0, 1).astype(np.int64))[None]


class Conditionals:
    """The probabilities of each channel of some sites, given the channels before, in float64."""

    def __init__(self, stage, outputs, offset, n=256):
        mixture = paper_mixture(outputs.double(), 3, n, stage.unit)
        self.logits, self.means, self.log_scales, self.coefficients = (
            part[0].flatten(-2).movedim(-1, 0).numpy() for part in mixture
        )
        origin = torch.zeros(1, 3, *outputs.shape[-2:]).double() + offset
        self.origin = origin[0].flatten(1).T.numpy()
        weights = np.exp(self.logits - self.logits.max(axis=1, keepdims=True))
        self.weights = weights / weights.sum(axis=1, keepdims=True)
        self.differences, self.n = [], n

    def of(self, channel):
        """(sites, n) probabilities of the next channel."""
        means = self.means[:, :, channel]
        for before, difference in enumerate(self.differences):
            pair = channel * (channel - 1) // 2 + before
            means = means + self.coefficients[:, :, pair] * difference[:, None]
        edges = np.arange(1, self.n) - 0.5 - self.origin[:, channel, None]
        z = (edges[:, None] - means[..., None]) * np.exp(-self.log_scales[:, :, channel, None])
        below = 0.5 * (1 + np.tanh(z / 2))
        cumulative = np.concatenate([np.zeros_like(below[..., :1]), below, np.ones_like(below[..., :1])], axis=-1)
        self.parts = np.diff(cumulative, axis=-1)
        return np.einsum("sk,skn->sn", self.weights, self.parts)

    def choose(self, channel, values):
        """Take the values (sites,) of the channel that was last asked for."""
        weights = self.weights * np.take_along_axis(self.parts, values[:, None, None], axis=2)[..., 0]
        self.weights = weights / weights.sum(axis=1, keepdims=True)
        self.differences.append(values - self.origin[:, channel])


def walked(model, size, code):
    """Go through the model stepwise; `code` gives the values of each channel of a slice's sites, by probabilities."""

    def choose(stage, slice_, outputs, offset):
        conditionals = Conditionals(model.stages[stage.index], outputs, offset)
        values = []
        for channel in range(3):
            values.append(code(stage, slice_, channel, conditionals.of(channel)))
            conditionals.choose(channel, values[-1])
        return torch.from_numpy(np.stack(values)).reshape(1, 3, *outputs.shape[-2:])

    return model.follow(model.config.walk(*size), None, 1, choose)


def frequencies(probabilities):
    """F(0) … F(n) of 2**24, each value with at least one."""
    n = probabilities.shape[-1]
    cumulative = np.minimum(np.concatenate([np.zeros_like(probabilities[:, :1]), probabilities.cumsum(-1)], -1), 1)
    cumulative[:, -1] = 1
    return np.arange(n + 1) + np.floor(cumulative * (TOTAL - n)).astype(np.int64)


def test_an_image_is_as_long_as_its_rate_and_comes_back(model, image):
    size = tuple(image.shape[-2:])
    bits = float(model.rate(image).total_nats[0]) / np.log(2)
    truth, symbols, tables = halves_of(model, image), [], []

    def write(stage, slice_, channel, probabilities):
        values = truth[stage.index][0, channel][slice_.sites].numpy().ravel()
        symbols.append(values)
        tables.append(probabilities)
        return values

    assert torch.equal(walked(model, size, write), image)
    symbols, tables = np.concatenate(symbols).astype(np.int32), np.concatenate(tables)

    theirs = constriction.stream.stack.AnsCoder()
    for symbol, probabilities in zip(symbols[::-1], tables[::-1], strict=True):
        theirs.encode_reverse(np.array([symbol], np.int32), categorical(probabilities))
    assert theirs.num_bits() == pytest.approx(bits, rel=1e-3)

    cumulative = frequencies(tables)
    starts = np.take_along_axis(cumulative, symbols[:, None].astype(np.int64), 1)[:, 0]
    ends = np.take_along_axis(cumulative, symbols[:, None].astype(np.int64) + 1, 1)[:, 0]
    intervals = np.stack([starts, ends - starts]).astype(np.uint32)
    words = np.empty(2 * len(symbols) + 1, dtype=np.uint16)
    first, state = load_model("compact").engine.encode_symbols(intervals, words)
    ours = 16 * (len(words) - first) + state.bit_length()
    assert ours == pytest.approx(bits, rel=1e-3)

    place = [state, first]

    def read(_stage, _slice, _channel, probabilities):
        values = np.empty(len(probabilities), dtype=np.int64)
        for site, bounds in enumerate(frequencies(probabilities)):
            slot = place[0] % TOTAL
            value = int(np.searchsorted(bounds, slot, side="right")) - 1
            place[0] = int(bounds[value + 1] - bounds[value]) * (place[0] // TOTAL) + slot - int(bounds[value])
            while place[0] < START:
                place[0], place[1] = place[0] << 16 | int(words[place[1]]), place[1] + 1
            values[site] = value
        return values

    assert torch.equal(walked(model, size, read), image)
    assert place == [START, len(words)]


def categorical(probabilities):
    return constriction.stream.model.Categorical(probabilities.astype(np.float64), perfect=False)


def halves_of(model, image):
    """The values that each stage codes."""
    return {index: fine for index, (fine, _) in model.config.decompose(image).items()}
