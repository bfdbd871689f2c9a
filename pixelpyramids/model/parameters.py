"""Parameter files: a model and its training, validated when they are read. There are two kinds.

    {"params": {"dataset_name": "celeba_256", "L": 13, "C": 64, "n_bits": 5, …}, "about": {…}}        the paper's model
    {"params": {"kind": "compact", "dataset_name": "compact", "width": 48, …}, "about": {…}}          the codec's model

The paper's files have the keys of the authors' release and optional ones of ours. `about` is for people: the paper's
figure (`evaluate` prints it), what is known of the settings, and what the file reached.
"""

import json
import os
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pixelpyramids.errors import ParameterError
from pixelpyramids.pyramid.levels import Stage, decompose, halving_size, walk
from pixelpyramids.pyramid.octaves import count_slices

Positive = Annotated[int, Field(ge=1, le=2**20, strict=True)]
Width = Annotated[int, Field(ge=1, le=2**14, strict=True)]
Natural = Annotated[int, Field(ge=0, strict=True)]
DATA_SETS = ("celeba_256", "celeba_1024", "lsun_bedroom", "lsun_church", "lsun_tower", "imagenet_128")
OLD_COMPACT_KEYS = {"C": "width", "n_res_layers": "trunk_blocks", "head_layers": "head_blocks"}


class TrainingParameters(BaseModel):
    """The keys that both kinds share: the images, and how a network is trained on them."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    dataset_name: Annotated[str, Field(pattern=r"^\w[\w.-]*$")]
    data_root: str = ""
    batch_size: Positive
    n_bits: Annotated[int, Field(ge=1, le=16, strict=True)]
    image_channels: Annotated[int, Field(ge=1, le=4, strict=True)] = 3

    eval_interval: Positive = 1
    epochs: Positive = 100
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1e-3
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.98)
    warmup_steps: Natural = 200
    learning_rate_decay: Annotated[float, Field(gt=0, le=1)] | None = None
    clip_norm: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = 1.0
    average: Literal["ramped", "unbiased"] = "ramped"
    average_decay: Annotated[float, Field(ge=0, lt=1)] = 0.9995
    kept_weights: Literal["average", "latest"] = "average"

    @property
    def n_values(self) -> int:
        """2**n_bits, the number of values of a subpixel."""
        return 1 << self.n_bits

    @property
    def accepted_channels(self) -> tuple[int, ...]:
        """How many channels images can have."""
        return (self.image_channels,)


class Parameters(TrainingParameters):
    """The paper's model. L counts the stages: L-1 levels (0 = finest) and the coarsest image."""

    kind: Literal["paper"] = "paper"
    L: Annotated[int, Field(ge=1, le=61, strict=True)]
    C: Width
    n_classes: tuple[Width, ...]
    n_squeeze: tuple[Annotated[int, Field(ge=0, le=4, strict=True)], ...]
    n_channels: Width
    n_res_layers: Annotated[int, Field(ge=1, le=64, strict=True)]

    n_layers: tuple[Annotated[int, Field(ge=1, le=8, strict=True)], ...] | None = None
    condition_channels: Width = 100
    lstm_channels: Width = 128
    norm: Literal["channel", "group", "batch"] = "channel"
    residual: Literal["value", "centred"] | Natural = "value"
    residual_unit: Literal["fine", "range"] = "fine"
    likelihood: Literal["exact", "authors"] = "exact"
    initialisation: Literal["mixture", "torch"] = "mixture"
    patch_size: Positive | None = None

    @model_validator(mode="after")
    def _check_lengths_and_classes(self) -> "Parameters":
        levels = self.L - 1
        for name, least in (("n_squeeze", levels), ("n_classes", max(levels, 1)), ("n_layers", levels)):
            entries = getattr(self, name)
            if entries is not None and len(entries) < least:
                raise ValueError(f"{name}: expected at least {least} entries for L = {self.L}, got {len(entries)}")
        per_component = outputs_per_component(self.image_channels)
        for stage in range(self.L):
            if self.outputs(stage) % per_component:
                raise ValueError(
                    f"n_classes: expected multiples of {per_component} for {self.image_channels} image channels, "
                    f"got {self.outputs(stage)} for stage {stage}"
                )
        if isinstance(self.residual, int) and self.residual >= self.n_values:
            raise ValueError(f"residual: expected a shift below {self.n_values}, got {self.residual}")
        if self.likelihood == "authors" and (self.residual == "value" or self.residual_unit != "range"):
            raise ValueError('likelihood "authors" is defined for residuals in units of the range only')
        return self

    @property
    def n_stages(self) -> int:
        """How many stages have weights of their own."""
        return self.L

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the images that it trains on: L-1 splits bring them to 4x4."""
        return halving_size(self.L - 1)

    @property
    def squeezes(self) -> tuple[int, ...]:
        """n_squeeze of the levels, without surplus entries."""
        return self.n_squeeze[: self.L - 1]

    def walk(self, height: int, width: int) -> tuple[Stage, ...]:
        """The stages of an image of that size, coarsest first."""
        return walk(height, width, self.squeezes)

    def decompose(self, images: Any) -> dict[int, tuple[Any, Any]]:
        """(fine, coarse) of each stage, by its index, finest first; (coarsest image, None) last."""
        return decompose(images, self.walk(images.shape[-2], images.shape[-1]))

    def count_steps(self, height: int, width: int) -> int:
        """The number of sequential steps that draw an image of that size."""
        return sum(len(stage.slices) for stage in self.walk(height, width))

    def outputs(self, stage: int) -> int:
        """How many outputs a stage's mixture has: its entry of n_classes, the last one for the coarsest stage."""
        return self.n_classes[stage] if stage < self.L - 1 else self.n_classes[-1]

    def depth(self, level: int) -> int:
        """Halvings of the U-Net of a level: `n_layers`, else the formula of the authors' release."""
        if self.n_layers is not None:
            return self.n_layers[level]
        remaining = self.L - level // 2 - 6 if self.L == 11 else self.L - level - 7
        return min(max(remaining, 1), 4)


class CompactParameters(TrainingParameters):
    """The codec's model: one network for all octaves, trained as one stage, on whole crops."""

    patch_size: ClassVar[None] = None
    norm: ClassVar[None] = None
    likelihood: ClassVar[Literal["exact"]] = "exact"

    kind: Literal["compact"]
    width: Width
    trunk_blocks: Annotated[int, Field(ge=1, le=64, strict=True)]
    head_blocks: Annotated[int, Field(ge=0, le=64, strict=True)] = 2
    components: Annotated[int, Field(ge=1, le=2**10, strict=True)]
    crop_size: Annotated[int, Field(ge=8, le=2**12, strict=True)] = 96

    @property
    def n_stages(self) -> int:
        """How many stages have weights of their own."""
        return 1

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the crops that it trains on."""
        return self.crop_size, self.crop_size

    def decompose(self, images: Any) -> dict[int, tuple[Any, Any]]:
        """The only stage sees whole images: {0: (images, None)}."""
        return {0: (images, None)}

    def count_steps(self, height: int, width: int) -> int:
        """The number of sequential steps that draw an image of that size."""
        return count_slices(height, width)


AnyParameters = Parameters | CompactParameters


def outputs_per_component(channels: int) -> int:
    """1 + 2 C + C(C-1)/2: a logit, C means, C log-scales and a coefficient for each pair of channels (PixelCNN++)."""
    return 1 + 2 * channels + channels * (channels - 1) // 2


def load_parameters(path: str | Path) -> AnyParameters:
    """Read a parameter file, given by its path or by the name of a shipped one (`celeba_256`).

    Raises ParameterError, which names every fault. Surplus entries of the lists are ignored with a warning.
    """
    path = find_parameters(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ParameterError(f"{path}: expected a JSON file of parameters, {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("params"), dict):
        raise ParameterError(f'{path}: expected an object {{"params": {{…}}}} as in the files of params/')
    parameters = parse_parameters(content["params"], str(path))
    for message in _describe_surplus(parameters):
        warnings.warn(f"{path}: {message}", stacklevel=2)
    return parameters


def parse_parameters(keys: dict[str, Any], source: str) -> AnyParameters:
    """Parameters from a dictionary of keys; `source` names it in errors. Raises ParameterError."""
    keys = _update_old_keys(keys)
    try:
        if keys.get("kind") == "compact":
            return CompactParameters.model_validate(keys)
        return Parameters.model_validate(keys)
    except ValidationError as error:
        faults = "; ".join(_describe_fault(fault) for fault in error.errors())
        raise ParameterError(f"{source}: {faults}") from error


def require_paper(parameters: AnyParameters, source: str) -> Parameters:
    """The parameters, if they are of the paper's model. Raises ParameterError if they are of a compact one."""
    if not isinstance(parameters, Parameters):
        raise ParameterError(f"{source}: expected the parameters of the paper's model, got those of a compact one")
    return parameters


def find_parameters(path: str | Path) -> Path:
    """The file at `path`, or the shipped file of that name. Raises ParameterError, naming what is shipped."""
    path = Path(path)
    if os.path.isfile(path):
        return path
    shipped = _shipped_folder() / f"{path.name.removesuffix('.json')}.json"
    if path.parent == Path() and os.path.isfile(shipped):
        return shipped
    names = ", ".join(sorted(file.stem for file in _shipped_folder().glob("*.json")))
    raise ParameterError(f"{path}: no such parameter file; give a path, or one of the shipped names: {names}")


class PaperFigure(NamedTuple):
    """Bits/dim that the paper reports on a data set's test images, and what is known of how it was measured."""

    bits_per_dim: float
    note: str


def find_paper_figure(config: AnyParameters) -> PaperFigure | None:
    """The paper's figure for the data set of the parameters; None if it is not one of the paper's six."""
    if config.dataset_name not in DATA_SETS or not isinstance(config, Parameters):
        return None
    content = json.loads((_shipped_folder() / f"{config.dataset_name}.json").read_text(encoding="utf-8"))
    about, note = content["about"], content["about"]["paper_note"]
    if config.n_bits != content["params"]["n_bits"]:
        note = f"not comparable: this model codes {config.n_bits} bits; {note}"
    if content["params"]["L"] != config.L:
        note = f"not comparable: this model codes {' x '.join(map(str, config.image_size))} pixels; {note}"
    return PaperFigure(about["paper_bits_per_dim"], note)


def _shipped_folder() -> Path:
    """Inside the installed package, else beside it in a checkout."""
    package = Path(__file__).parents[1]
    return package / "params" if (package / "params").is_dir() else package.parent / "params"


def _update_old_keys(keys: dict[str, Any]) -> dict[str, Any]:
    """Convert the keys of earlier versions, which had one kind of file and the key `network`."""
    if "network" not in keys:
        return keys
    if keys["network"] != "compact":
        return {key: value for key, value in keys.items() if key not in ("network", "head_layers", "crop_size")}
    known = CompactParameters.model_fields
    updated = {OLD_COMPACT_KEYS.get(key, key): value for key, value in keys.items()} | {"kind": "compact"}
    with suppress(TypeError, LookupError):  # the validation names keys that are missing or of another type
        updated["components"] = keys["n_classes"][-1] // outputs_per_component(keys.get("image_channels", 3))
    return {key: value for key, value in updated.items() if key in known}


def _describe_surplus(parameters: AnyParameters) -> Iterator[str]:
    if not isinstance(parameters, Parameters):
        return
    levels = parameters.L - 1
    for name, used in (("n_squeeze", levels), ("n_classes", levels + 1), ("n_layers", levels)):
        entries = getattr(parameters, name)
        if entries is not None and len(entries) > used:
            last = " (the last entry is for the coarsest stage)" if name == "n_classes" else ""
            yield f"{name} has {len(entries)} entries, but L = {parameters.L} uses {used}; the rest is ignored{last}"


def _describe_fault(fault: Any) -> str:
    where = ".".join(str(part) for part in fault["loc"])
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "missing":
        return f"{where} is missing"
    if fault["type"] == "extra_forbidden":
        return f"{where} is not a key of parameter files"
    return f"{where}: {message}, got {fault['input']!r}" if where else message
