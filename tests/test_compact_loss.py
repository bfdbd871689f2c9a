"""The compact network's nats and their gradient in one pass, beside the mixture and autograd."""

import pytest
import torch

from pixelpyramids.codec.outputs import UNIT, starting_outputs
from pixelpyramids.model import compact_loss
from pixelpyramids.model.compact_stage import CompactStage
from pixelpyramids.model.models import new_model
from pixelpyramids.model.parameters import parse_parameters


def stage(channels, bits, components=3):
    keys = {
        "kind": "compact", "dataset_name": "compact", "batch_size": 1, "n_bits": bits, "width": 8, "trunk_blocks": 1,
        "components": components, "image_channels": channels,
    }  # fmt: skip
    found = new_model(parse_parameters(keys, "test")).stages[0]
    assert isinstance(found, CompactStage)
    return found


def draw(channels, bits, spread, dtype, size=(2, 45, 61)):
    """Outputs, values and offsets of more sites than are scored at once, with both edges of the range among them."""
    generator = torch.Generator().manual_seed(channels + bits)
    batch, height, width = size
    start = torch.from_numpy(starting_outputs(3, channels)).view(1, -1, 1, 1)
    noise = torch.randn(batch, start.shape[1], height, width, generator=generator, dtype=torch.float64)
    outputs = (start + spread * UNIT * noise).to(dtype).requires_grad_()
    values = torch.randint(0, 2**bits, (batch, channels, height, width), generator=generator)
    values[:, :, :3], values[:, :, 3:6] = 0, 2**bits - 1
    return outputs, values, (values + torch.randint(-9, 10, values.shape, generator=generator)) / 4


@pytest.mark.parametrize("spread", [0.2, 3])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("bits", [1, 5, 8, 16])
def test_nats_and_gradient_are_those_of_the_mixture_and_autograd(bits, channels, spread):
    outputs, values, offset = draw(channels, bits, spread, torch.float64)
    weights = torch.rand(2, 45, 61, dtype=torch.float64)
    expected = -stage(channels, bits)._mixture(outputs).log_prob(values, offset, 2**bits)
    (of_autograd,) = torch.autograd.grad((weights * expected).sum(), outputs)
    found = compact_loss.nats(outputs, values, offset, 2**bits)
    (gradient,) = torch.autograd.grad((weights * found).sum(), outputs)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(gradient, of_autograd, rtol=1e-7, atol=1e-12)


def test_the_gradient_is_that_of_finite_differences():
    outputs, values, offset = draw(3, 8, 0.5, torch.float64, (1, 9, 2))
    assert torch.autograd.gradcheck(
        lambda units: compact_loss.nats(UNIT * units, values, offset, 256), (outputs.detach() / UNIT).requires_grad_()
    )


@pytest.mark.parametrize("spread", [1, 100, 4000])
@pytest.mark.parametrize("bits", [1, 8, 16])
def test_float32_is_finite_at_extremes_and_agrees_with_float64(bits, spread):
    outputs, values, offset = draw(3, bits, spread, torch.float32)
    found = compact_loss.nats(outputs, values, offset, 2**bits)
    found.sum().backward()
    assert found.isfinite().all() and outputs.grad.isfinite().all()
    expected = compact_loss.nats(outputs.double(), values, offset, 2**bits)
    torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-3)
