"""Open the model that a command names, and read images for it."""

from pathlib import Path
from typing import TYPE_CHECKING

from pixelpyramids.data.reading import Decoded, read_decoded
from pixelpyramids.errors import ParameterError
from pixelpyramids.loading import Model, ModelConfig, is_bundled, load

if TYPE_CHECKING:
    from pixelpyramids.model.models import AnyModel


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
        return load_to_device(Path(name), params, likelihood, device)
    options = {"--params": params, "--likelihood": likelihood, "--device": device, "--tile": tile}
    given = [option for option, value in options.items() if value is not None]
    if given:
        them = "it" if len(given) == 1 else "them"
        raise ParameterError(f"{name}: the bundled network takes no {', '.join(given)}; leave {them} out")
    return load(name)


def load_to_device(
    path: Path, params: str | None = None, likelihood: str | None = None, device: str | None = None
) -> "AnyModel":
    """Load a run directory or an authors' file to the device of that name (by default a GPU if there is one).

    If a launcher started several processes, each has a device of its own.
    """
    from accelerate import PartialState

    from pixelpyramids.model.device import choose_device
    from pixelpyramids.training import run_directory

    processes = PartialState(cpu=choose_device(device).type == "cpu")
    return run_directory.load(path, params, likelihood).to(processes.device)


def read_for(config: ModelConfig, file: Path) -> Decoded:
    """An image as a model needs it. Raises DataError, naming the file, if it cannot be read."""
    return read_decoded(file, config.accepted_channels, config.n_bits)
