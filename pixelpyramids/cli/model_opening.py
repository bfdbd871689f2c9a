"""Open the model that a command names, and read images for it."""

from pathlib import Path

from pixelpyramids.data.reading import Decoded, choose_channels, read_decoded
from pixelpyramids.errors import ParameterError
from pixelpyramids.loading import Model, ModelConfig, is_bundled, load


def open_model(
    name: str,
    params: str | None = None,
    likelihood: str | None = None,
    device: str | None = None,
    tile: int | None = None,
) -> Model:
    """The bundled network, or a model in torch on the device of that name.

    Raises ParameterError if the bundled network gets an option that is for models in torch.
    """
    if not is_bundled(name):
        from pixelpyramids.cli.opening import load_to_device

        return load_to_device(Path(name), params, likelihood, device)
    options = {"--params": params, "--likelihood": likelihood, "--device": device, "--tile": tile}
    given = [option for option, value in options.items() if value is not None]
    if given:
        them = "it" if len(given) == 1 else "them"
        raise ParameterError(f"{name}: the bundled network takes no {', '.join(given)}; leave {them} out")
    return load(name)


def read_for(config: ModelConfig, file: Path) -> Decoded:
    """An image as a model needs it. Raises DataError, naming the file, if it cannot be read."""
    return read_decoded(file, choose_channels(file, config.accepted_channels), config.n_bits)
