"""The recurrence's own gradient equals that of autograd step by step, and slices are causal."""

import pytest
import torch
from torch.autograd import gradcheck

from pixelpyramids.model.networks.conv_lstm import ConvLSTM, ConvLSTMLayer, Recurrence


@pytest.fixture(autouse=True)
def same_weights():
    torch.manual_seed(0)


def stepwise(layer, inputs):
    """Hidden states by `step` alone."""
    states, state = [], None
    for x in inputs:
        state = layer.step(x, state)
        states.append(state[0])
    return torch.stack(states)


def conv_lstm(n_squeeze, width=6):
    return ConvLSTM(condition_channels=5, image_channels=3, width=width, outputs=7, n_squeeze=n_squeeze).double()


SHAPES = [(2, 1, 3, 5), (4, 2, 4, 3), (16, 2, 2, 2), (4, 1, 1, 1), (3, 3, 1, 4)]


@pytest.mark.parametrize("steps, batch, height, width", SHAPES)
def test_outputs_and_gradients_equal_those_of_the_steps(steps, batch, height, width):
    layer = ConvLSTMLayer(6).double()
    inputs = torch.randn(steps, batch, 6, height, width, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(steps, batch, 6, height, width, dtype=torch.float64)
    wanted = [inputs, *layer.parameters()]
    parallel, sequential = layer(inputs), stepwise(layer, inputs)
    torch.testing.assert_close(parallel, sequential, rtol=1e-12, atol=1e-12)
    found = torch.autograd.grad((parallel * weights).sum(), wanted, allow_unused=True)
    expected = torch.autograd.grad((sequential * weights).sum(), wanted, allow_unused=True)
    for name, ours, theirs in zip(["input", *dict(layer.named_parameters())], found, expected, strict=True):
        ours = torch.zeros(()) if ours is None else ours
        theirs = torch.zeros(()) if theirs is None else theirs
        assert torch.allclose(ours.double(), theirs.double(), rtol=1e-10, atol=1e-12), name


@pytest.mark.parametrize("steps", [2, 4])
def test_gradients_equal_finite_differences(steps):
    gates = torch.randn(steps, 2, 12, 3, 2, dtype=torch.float64, requires_grad=True)
    weight = (0.5 * torch.randn(12, 3, 3, 3, dtype=torch.float64)).requires_grad_()
    assert gradcheck(lambda g, w: Recurrence.apply(g.clone(), w), (gates, weight))


def test_saturated_gates_keep_finite_gradients():
    layer = ConvLSTMLayer(4)
    inputs = (1e4 * torch.randn(4, 2, 4, 3, 3)).requires_grad_()
    hidden = layer(inputs)
    assert hidden.isfinite().all() and hidden.abs().max() <= 1
    hidden.sum().backward()
    assert all(x.grad.isfinite().all() for x in (inputs, *layer.parameters()))


@pytest.mark.parametrize("n_squeeze", [1, 2])
def test_a_call_does_not_change_its_inputs(n_squeeze):
    network = conv_lstm(n_squeeze)
    conditioning, fine = torch.randn(2, 5, 8, 8).double(), torch.randn(2, 3, 8, 8).double()
    before = conditioning.clone(), fine.clone()
    network(conditioning, fine).sum().backward()
    assert torch.equal(conditioning, before[0]) and torch.equal(fine, before[1])


@pytest.mark.parametrize("n_squeeze", [1, 2])
def test_a_slice_sees_only_earlier_slices(n_squeeze):
    network, factor = conv_lstm(n_squeeze), 2**n_squeeze
    conditioning = torch.randn(1, 5, 8, 8, dtype=torch.float64)
    fine = torch.randn(1, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    outputs = network(conditioning, fine)
    for t in range(factor**2):
        dy, dx = divmod(t, factor)
        (grad,) = torch.autograd.grad(outputs[..., dy::factor, dx::factor].square().sum(), fine, retain_graph=True)
        for other in range(factor**2):
            y, x = divmod(other, factor)
            assert grad[..., y::factor, x::factor].any() == (other < t)
