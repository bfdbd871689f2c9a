"""The two-layer ConvLSTM that codes a level's fine half in T = 4**n_squeeze sub-images (Mahajan & Roth, ICCV 2021).

With f = 2**n_squeeze, sub-image t = dy f + dx holds the sites [dy::f, dx::f]. Step t sees the conditioning of its own
sites and the values of sub-image t-1:

    x_t = embed(conditioning_t, fine_{t-1})       fine_{-1} = 0
    h, c = layer 1, layer 2:  (f, i, g, o) = W_ih * x_t + W_hh * h + b;  c = σ(f) c + σ(i) tanh(g);  h = σ(o) tanh(c)
    outputs_t = head(h of layer 2)                initial h = c = 0

If the true values are known, only W_hh * h is sequential: the input convolutions of all steps run in one call.
"""

from collections.abc import Generator
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.grad import conv2d_weight


class Recurrence(torch.autograd.Function):
    """Hidden states of all steps, from the gates' inputs and the weights of the hidden state.

    The same as `ConvLSTMLayer.step` step by step, but with an explicit gradient: the states of all steps are kept side
    by side, so that the gradient of the weights is one convolution instead of one per step.
    """

    @staticmethod
    def forward(ctx: Any, gates: Tensor, weight: Tensor) -> Tensor:
        """`gates` (steps, batch, 4 width, h, w), `weight` (4 width, width, 3, 3) -> (steps, batch, width, h, w)."""
        activations = gates.to(_state_type(gates))  # changed in place if the type is the same: nothing else reads it
        width = weight.shape[1]
        memories = torch.empty_like(activations[:, :, :width])
        squashed, hidden = torch.empty_like(memories), torch.empty_like(memories)
        weight = weight.to(gates.dtype)
        rounded = hidden if hidden.dtype == weight.dtype else torch.empty_like(hidden, dtype=weight.dtype)
        for t, gate in enumerate(activations):
            if t > 0:
                gate += F.conv2d(rounded[t - 1], weight, padding=1)
            forget, entry, fresh, leave = gate.split(width, dim=1)
            gate[:, : 2 * width].sigmoid_()
            _tanh(fresh, out=fresh)
            leave.sigmoid_()
            torch.mul(entry, fresh, out=memories[t])
            if t > 0:
                memories[t].addcmul_(forget, memories[t - 1])
            _tanh(memories[t], out=squashed[t])
            torch.mul(leave, squashed[t], out=hidden[t])
            rounded[t].copy_(hidden[t])  # does nothing if the type is the same
        ctx.save_for_backward(activations, memories, squashed, rounded, weight)
        return hidden

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of the gates and of the weights."""
        activations, memories, squashed, hidden, weight = ctx.saved_tensors
        width = weight.shape[1]
        gate_grads = torch.empty_like(activations)
        rounded = gate_grads if weight.dtype == grad.dtype else torch.empty_like(activations, dtype=weight.dtype)
        grad_hidden, grad_memory = grad[-1], None
        for t in reversed(range(len(activations))):
            forget, entry, fresh, leave = activations[t].split(width, dim=1)
            to_forget, to_entry, to_fresh, to_leave = gate_grads[t].split(width, dim=1)
            torch.ops.aten.sigmoid_backward.grad_input(grad_hidden * squashed[t], leave, grad_input=to_leave)
            through = torch.ops.aten.tanh_backward(grad_hidden * leave, squashed[t])
            grad_memory = through if grad_memory is None else grad_memory.add_(through)
            torch.ops.aten.sigmoid_backward.grad_input(grad_memory * fresh, entry, grad_input=to_entry)
            torch.ops.aten.tanh_backward.grad_input(grad_memory * entry, fresh, grad_input=to_fresh)
            if t > 0:
                memory = grad_memory * memories[t - 1]
                torch.ops.aten.sigmoid_backward.grad_input(memory, forget, grad_input=to_forget)
                grad_memory = grad_memory.mul_(forget)
            else:
                to_forget.zero_()
            rounded[t].copy_(gate_grads[t])  # does nothing if the type is the same
            if t > 0:
                grad_hidden = grad[t - 1] + F.conv_transpose2d(rounded[t], weight, padding=1)
        before = hidden[:-1].flatten(0, 1)
        weight_grad = conv2d_weight(before, list(weight.shape), rounded[1:].flatten(0, 1), padding=1)
        return rounded, weight_grad.to(grad.dtype)


class ConvLSTMLayer(nn.Module):
    """A convolutional LSTM layer, 3x3, zero padding, no peepholes, gates in the order forget, input, cell, output.

    Its state is float32 (or wider) even if its convolutions are bfloat16.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.input = nn.Conv2d(width, 4 * width, 3, padding=1)
        self.hidden = nn.Conv2d(width, 4 * width, 3, padding=1, bias=False)

    def forward(self, x: Float[Tensor, "steps batch width h w"]) -> Float[Tensor, "steps batch width h w"]:
        """Hidden states of all steps, at least two, from the inputs of all steps."""
        gates = self.input(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        with torch.autocast(x.device.type, enabled=False):
            hidden: Tensor = Recurrence.apply(gates, self.hidden.weight)  # type: ignore[no-untyped-call]
        return hidden

    def step(self, x: Tensor, state: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
        """Hidden state and memory after input x (batch, width, h, w); None is the zero state."""
        if state is None:  # nothing to forget
            bias = None if self.input.bias is None else self.input.bias[self.width :]
            gates = F.conv2d(x, self.input.weight[self.width :], bias, padding=1)
        else:
            gates = self.input(x) + self.hidden(state[0])
        *forget, entry, fresh, leave = gates.to(_state_type(gates)).split(self.width, dim=1)
        memory = torch.sigmoid(entry) * torch.tanh(fresh)
        if state is not None:
            memory = memory + torch.sigmoid(forget[0]) * state[1]
        return torch.sigmoid(leave) * torch.tanh(memory), memory


class ConvLSTM(nn.Module):
    """Outputs of the mixture for every site of a fine half, given its conditioning and the slices before."""

    def __init__(self, condition_channels: int, image_channels: int, width: int, outputs: int, n_squeeze: int) -> None:
        super().__init__()
        self.factor = 2**n_squeeze
        self.image_channels = image_channels
        self.embed = nn.Conv2d(condition_channels + image_channels, width, 3, padding=1)
        self.layers = nn.ModuleList([ConvLSTMLayer(width), ConvLSTMLayer(width)])
        self.head = nn.Conv2d(width, outputs, 3, padding=1)

    def forward(
        self,
        conditioning: Float[Tensor, "batch condition_channels padded_height padded_width"],
        fine: Float[Tensor, "batch image_channels height width"],
    ) -> Float[Tensor, "batch outputs height width"]:
        """The outputs of all slices at once, from the true values; the conditioning is padded to the lattice."""
        height, width = fine.shape[-2:]
        padded = F.pad(fine, (0, conditioning.shape[-1] - width, 0, conditioning.shape[-2] - height))
        slices = self.sub_images(padded)
        before = torch.cat([torch.zeros_like(slices[0]), *slices[:-1]])
        hidden = _without_autocast(self.embed, torch.cat([self.sub_images(conditioning).flatten(0, 1), before], dim=1))
        hidden = hidden.unflatten(0, slices.shape[:2])
        for layer in self.layers:
            hidden = layer(hidden)
        outputs = _without_autocast(self.head, hidden.flatten(0, 1)).unflatten(0, hidden.shape[:2])
        return self._interleave(outputs)[..., :height, :width]

    def stepwise(
        self, conditioning: Float[Tensor, "batch condition_channels padded_height padded_width"]
    ) -> Generator[Tensor, Tensor, None]:
        """Yield the outputs of each slice; receive its values (batch, image_channels, h, w), padded to the lattice."""
        layers = [layer for layer in self.layers if isinstance(layer, ConvLSTMLayer)]
        states: list[tuple[Tensor, Tensor] | None] = [None] * len(layers)
        slices = self.sub_images(conditioning)
        before = slices.new_zeros(slices[0].shape[0], self.image_channels, *slices.shape[-2:])
        for conditioned in slices:
            x = _without_autocast(self.embed, torch.cat([conditioned, before], dim=1))
            for i, layer in enumerate(layers):
                x, memory = layer.step(x, states[i])
                states[i] = x, memory
            before = yield _without_autocast(self.head, x)

    def sub_images(self, x: Float[Tensor, "batch c height width"]) -> Float[Tensor, "steps batch c h w"]:
        """Space to depth, the sub-images first, in raster order of their offset."""
        f = self.factor
        batch, channels, height, width = x.shape
        x = x.reshape(batch, channels, height // f, f, width // f, f).permute(3, 5, 0, 2, 4, 1)
        return x.reshape(f * f, batch, height // f, width // f, channels).permute(0, 1, 4, 2, 3)

    def _interleave(self, x: Float[Tensor, "steps batch c h w"]) -> Float[Tensor, "batch c height width"]:
        f = self.factor
        _, batch, channels, height, width = x.shape
        x = x.unflatten(0, (f, f)).permute(2, 4, 0, 5, 1, 3)
        return x.reshape(batch, height * f, width * f, channels).permute(0, 3, 1, 2)


def _without_autocast(layer: nn.Conv2d, x: Tensor) -> Tensor:
    with torch.autocast(x.device.type, enabled=False):
        convolved: Tensor = layer(x)
    return convolved


def _tanh(x: Tensor, out: Tensor) -> None:
    """Tanh by means of the sigmoid, which torch computes several times faster on a CPU."""
    torch.mul(x, 2, out=out).sigmoid_().mul_(2).sub_(1)


def _state_type(gates: Tensor) -> torch.dtype:
    return torch.float64 if gates.dtype == torch.float64 else torch.float32
