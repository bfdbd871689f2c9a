"""The network of one stage: a U-Net and a ConvLSTM for a level, a PixelCNN++ for the coarsest image.

Both compute one function in two forms: `forward` gives the mixture's outputs for every site from the true values;
`stepwise` yields them slice by slice in the order of the walk, and receives each slice's values.
"""

from collections.abc import Generator

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from pixelpyramids.model.networks.conv_lstm import ConvLSTM
from pixelpyramids.model.networks.pixel_cnn import PixelCNN
from pixelpyramids.model.networks.unet import UNet
from pixelpyramids.model.parameters import Parameters
from pixelpyramids.pyramid.levels import Stage


class LevelNetwork(nn.Module):
    """Outputs for the fine half of a level given its coarse half, which is padded to the size of fine.

    If n_squeeze is 0, there is one slice and no ConvLSTM: the U-Net gives the outputs.
    """

    def __init__(self, parameters: Parameters, index: int) -> None:
        super().__init__()
        n_squeeze, outputs, channels = parameters.n_squeeze[index], parameters.outputs(index), parameters.image_channels
        features = parameters.condition_channels if n_squeeze else outputs
        self.factor = 2**n_squeeze
        self.unet = UNet(channels, parameters.C, parameters.depth(index), features, parameters.norm)
        self.conv_lstm = (
            ConvLSTM(features, channels, parameters.lstm_channels, outputs, n_squeeze) if n_squeeze else None
        )

    @property
    def head(self) -> nn.Conv2d:
        """The last layer, whose bias is the mixture of an untrained network."""
        return self.unet.head if self.conv_lstm is None else self.conv_lstm.head

    def forward(
        self, fine: Float[Tensor, "batch channels height width"], coarse: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch outputs height width"]:
        conditioning = self._conditioning(coarse)
        outputs: Tensor = conditioning if self.conv_lstm is None else self.conv_lstm(conditioning, fine)
        return outputs

    def stepwise(
        self, stage: Stage, coarse: Float[Tensor, "batch channels height width"]
    ) -> Generator[Tensor, Tensor, None]:
        """Yield the outputs at the sites of each slice of the stage; receive its values, in the units of `forward`."""
        conditioning = self._conditioning(coarse)
        if self.conv_lstm is None:
            yield conditioning
            return
        height, width = (side // self.factor for side in conditioning.shape[-2:])
        steps = self.conv_lstm.stepwise(conditioning)
        outputs = next(steps)
        for index, slice_ in enumerate(stage.slices):
            rows, columns = slice_.shape(stage.height, stage.width)
            values = yield outputs[..., :rows, :columns]
            if index + 1 < len(stage.slices):
                outputs = steps.send(F.pad(values, (0, width - columns, 0, height - rows)))

    def _conditioning(self, coarse: Tensor) -> Tensor:
        rows, columns = (-side % self.factor for side in coarse.shape[-2:])
        if rows or columns:
            coarse = F.pad(coarse, (0, columns, 0, rows), mode="replicate")
        conditioning: Tensor = self.unet(coarse.contiguous(memory_format=torch.channels_last))
        return conditioning


class CoarsestNetwork(nn.Module):
    """Outputs for each pixel of the coarsest image, given the pixels before it."""

    def __init__(self, parameters: Parameters) -> None:
        super().__init__()
        outputs = parameters.outputs(parameters.L - 1)
        self.pixel_cnn = PixelCNN(parameters.image_channels, parameters.n_channels, parameters.n_res_layers, outputs)

    @property
    def head(self) -> nn.Conv2d:
        """The last layer, whose bias is the mixture of an untrained network."""
        head: nn.Conv2d = self.pixel_cnn.head
        return head

    def forward(
        self, image: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch outputs height width"]:
        with torch.autocast(image.device.type, enabled=False):  # small: less precision would save nothing
            outputs: Tensor = self.pixel_cnn(image)
        return outputs

    def stepwise(self, stage: Stage, batch: int) -> Generator[Tensor, Tensor, None]:
        """Yield the outputs of each pixel; receive its value, in [-1, 1] units."""
        return self.pixel_cnn.stepwise(batch, stage.height, stage.width)
