"""The two-layer ConvLSTM that codes the fine half of a level in T = 4**n_squeeze sub-images (Mahajan & Roth, ICCV 2021).

With f = 2**n_squeeze, sub-image t = dy f + dx holds the sites [dy::f, dx::f]. Step t sees the conditioning of its own
sites and the values of sub-image t-1:

    x_t = embed(conditioning_t, fine_{t-1})       fine_{-1} = 0
    h, c = layer 1, layer 2:  (i, f, g, o) = W_ih * x_t + W_hh * h + b;  c = σ(f) c + σ(i) tanh(g);  h = σ(o) tanh(c)
    outputs_t = head(h of layer 2)                initial h = c = 0

Given the true values, nothing but W_hh * h is sequential: the input convolutions of all steps run in one call.
"""

from collections.abc import Generator

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class ConvLSTMLayer(nn.Module):
    """A convolutional LSTM layer, 3x3, zero padding, no peepholes, gates in the order input, forget, cell, output."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.input = nn.Conv2d(width, 4 * width, 3, padding=1)
        self.hidden = nn.Conv2d(width, 4 * width, 3, padding=1, bias=False)

    def forward(self, x: Float[Tensor, "steps batch width h w"]) -> Float[Tensor, "steps batch width h w"]:
        """Hidden states of all steps, for inputs that are all known."""
        gates = self.input(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        states, state = [], None
        for step in range(x.shape[0]):
            state = self.update(gates[step], state)
            states.append(state[0])
        return torch.stack(states)

    def step(self, x: Tensor, state: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
        """Hidden and cell state after input x (batch, width, h, w); None is the zero state."""
        return self.update(self.input(x), state)

    def update(self, gates: Tensor, state: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
        """The cell, on the input's share of the gates; its state in float32 also where convolutions are not."""
        if state is not None:
            gates = gates + self.hidden(state[0])
        if gates.dtype == torch.bfloat16:
            gates = gates.float()
        entry, forget, cell, exit_ = gates.chunk(4, dim=1)
        fresh = torch.sigmoid(entry) * torch.tanh(cell)
        memory = fresh if state is None else torch.sigmoid(forget) * state[1] + fresh
        return torch.sigmoid(exit_) * torch.tanh(memory), memory


class ConvLSTM(nn.Module):
    """Outputs of the mixture for every site of a fine half, given its conditioning and the slices before."""

    def __init__(self, condition_channels: int, image_channels: int, width: int, outputs: int, n_squeeze: int) -> None:
        super().__init__()
        self.factor = 2**n_squeeze
        self.image_channels = image_channels
        self.embed = nn.Conv2d(condition_channels + image_channels, width, 3, padding=1)
        self.layers = nn.ModuleList(ConvLSTMLayer(width) for _ in range(2))
        self.head = nn.Conv2d(width, outputs, 3, padding=1)

    def forward(
        self,
        conditioning: Float[Tensor, "batch condition_channels padded_height padded_width"],
        fine: Float[Tensor, "batch image_channels height width"],
    ) -> Float[Tensor, "batch outputs height width"]:
        """All slices at once from the true values; the conditioning is already padded to the lattice."""
        height, width = fine.shape[-2:]
        padded = F.pad(fine, (0, conditioning.shape[-1] - width, 0, conditioning.shape[-2] - height))
        slices = self.sub_images(padded)
        before = torch.cat([torch.zeros_like(slices[0]), *slices[:-1]])
        hidden = self._embed(torch.cat([self.sub_images(conditioning).flatten(0, 1), before], dim=1))
        hidden = hidden.unflatten(0, slices.shape[:2])
        for layer in self.layers:
            hidden = layer(hidden)
        outputs = self._head(hidden.flatten(0, 1)).unflatten(0, hidden.shape[:2])
        return self._interleave(outputs)[..., :height, :width]

    def stepwise(
        self, conditioning: Float[Tensor, "batch condition_channels padded_height padded_width"]
    ) -> Generator[Tensor, Tensor, None]:
        """Yield the outputs of each slice; take its values (batch, image_channels, h, w), padded to the lattice."""
        states: list[tuple[Tensor, Tensor] | None] = [None for _ in self.layers]
        slices = self.sub_images(conditioning)
        before = slices.new_zeros(slices[0].shape[0], self.image_channels, *slices.shape[-2:])
        for conditioned in slices:
            x = self._embed(torch.cat([conditioned, before], dim=1))
            for i, layer in enumerate(self.layers):
                states[i] = layer.step(x, states[i])
                x = states[i][0]
            before = yield self._head(x)

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

    def _embed(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            embedded: Tensor = self.embed(x)
        return embedded

    def _head(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            outputs: Tensor = self.head(x)
        return outputs
