"""Read checkpoints of the authors' release (visinf/pixelpyramids).

Such a file is a pickled dictionary with a state dict for each stage under the integers 0 … L-1, and `optim` and
`sched`. It becomes an ordinary model whose parameters describe the differences: normalisation by batch statistics
(running ones in evaluation), residuals shifted by 128 for `celeba_256` and by 0 otherwise, and the clamped likelihood.
Depths and widths come from the tensors' shapes.
"""

import copy
import os
import pickle
import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pixelpyramids.errors import CheckpointError, DataError, ParameterError
from pixelpyramids.model.parameters import Parameters, parse_paper_parameters
from pixelpyramids.model.pixel_pyramid import PixelPyramid

AVERAGE_DECAY = 0.9995
_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
_TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_BLOCK = {"0": "conv1", "1": "norm1", "3": "conv2", "4": "norm2"}
_WEIGHT_NORM = {
    "bias": "bias",
    "weight_g": "parametrizations.weight.original0",
    "weight_v": "parametrizations.weight.original1",
}
_DAMAGE = (OSError, RuntimeError, EOFError, ValueError, LookupError, AttributeError, TypeError, AssertionError)
_GATED = {"c1": "conv1.conv", "c1c": "auxiliary", "c2": "conv2.conv"}
_INPUTS = {"u_input": "u_input", "ul_input_d": "ul_input_above", "ul_input_dr": "ul_input_left"}


@dataclass(frozen=True)
class ImportedCheckpoint:
    """A model made from a checkpoint of the authors, and the file's keys that it does not use."""

    model: PixelPyramid
    unused: tuple[str, ...]


def read_checkpoint(path: str | Path, parameters: Parameters, averaged: bool = False) -> ImportedCheckpoint:
    """Read the authors' `.pt` with its parameters; `averaged` takes the averaged weights.

    No code in the file is run. Raises CheckpointError if the file would run code, is damaged, lacks weights, or has
    other stages than the parameters.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        raise CheckpointError(f"{path}: expected a file of weights, got a folder, a pipe or a device")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickles that are refused anyway
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file") from error
    except pickle.UnpicklingError as error:
        if re.search(r"unsupported (global|class)", str(error), re.IGNORECASE):
            raise CheckpointError(
                f"{path}: refused, because it holds more than tensors and plain values and would run code when loaded"
            ) from error
        raise CheckpointError(f"{path}: expected a checkpoint written by torch.save, but it cannot be read") from error
    except _DAMAGE as error:
        raise CheckpointError(f"{path}: expected a checkpoint written by torch.save, but it cannot be read") from error
    return convert(_stages(content, parameters.L, path, averaged), parameters, str(path))


def convert(stages: list[dict[str, Tensor]], parameters: Parameters, source: str) -> ImportedCheckpoint:
    """The model of the authors' state dicts, one per stage. Raises CheckpointError as `read_checkpoint` does."""
    config = _complete_parameters(stages, parameters, source)
    model = PixelPyramid(config)
    unused: list[str] = []
    for index, state in enumerate(stages):
        squeeze = config.squeezes[index] if index < config.L - 1 else None
        translated, left = _translate_keys(state, squeeze, f"{source}: stage {index}")
        unused += [f"{index}: {key}" for key in left]
        stage = model.stages[index]
        weights = stage.state_dict()
        missing = sorted(weights.keys() - translated.keys())
        if missing:
            raise CheckpointError(f"{source}: stage {index} lacks the weights of {', '.join(missing[:4])}")
        for key, value in translated.items():
            if key not in weights or weights[key].shape != value.shape:
                expected = tuple(weights[key].shape) if key in weights else "no such weight"
                raise CheckpointError(
                    f"{source}: stage {index}, {key}: expected {expected}, got {tuple(value.shape)}; "
                    "check that the parameters belong to this checkpoint"
                )
            if not value.isfinite().all() or (key.endswith("running_var") and bool((value < 0).any())):
                raise CheckpointError(
                    f"{source}: stage {index}, {key}: expected finite weights and no negative variances, got others"
                )
        stage.load_state_dict(
            {key: _reorder_gates(value) if ".layers." in key else value for key, value in translated.items()}
        )
    return ImportedCheckpoint(model.eval(), tuple(unused))


def calibrate(model: PixelPyramid, batches: Iterable[Tensor]) -> PixelPyramid:
    """A copy of an imported model whose running statistics are the means over the batches.

    The stored ones are from the authors' test set, and from one GPU's share of a batch. Pass training images here.
    Raises DataError if there is no batch.
    """
    calibrated = copy.deepcopy(model).train()
    for module in calibrated.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # a plain mean over the batches
    count = 0
    for batch in batches:
        calibrated.rate(batch)
        count += len(batch)
    if not count:
        raise DataError("expected images to compute running statistics on, got none that can be read")
    return calibrated.eval()


def _stages(content: Any, n_stages: int, path: str | Path, averaged: bool) -> list[dict[str, Tensor]]:
    found = sorted(key for key in content if isinstance(key, int)) if isinstance(content, Mapping) else []
    if found != list(range(n_stages)) or not all(isinstance(content[key], Mapping) for key in found):
        raise CheckpointError(
            f"{path}: expected the state dicts of stages 0 to {n_stages - 1} (L = {n_stages}), got {len(found)} stages"
        )
    entries = [entry for index in found for entry in content[index].items()]
    if not all(isinstance(key, str) and isinstance(value, Tensor) and _is_plain(key, value) for key, value in entries):
        raise CheckpointError(f"{path}: expected state dicts of names and dense real tensors")
    stages = [{key.removeprefix("module."): value for key, value in content[index].items()} for index in found]
    return _take_averages(stages, content.get("optim"), path) if averaged else stages


def _is_plain(key: str, value: Tensor) -> bool:
    types = (torch.int64,) if key.endswith("num_batches_tracked") else _TYPES
    return value.layout == torch.strided and value.device.type == "cpu" and value.dtype in types


def _take_averages(stages: list[dict[str, Tensor]], optimiser: Any, path: str | Path) -> list[dict[str, Tensor]]:
    """The stages with the optimiser's averages, which are numbered over the parameters of all stages.

    The averages start at zero, so they are divided by 1 - decay**step.
    """
    try:
        state = optimiser["state"]
        step = max(int(entry["step"]) for entry in state.values() if "step" in entry)
        count, averages = 0, []
        for stage in stages:
            averaged = dict(stage)
            for key, value in stage.items():
                if key.rsplit(".", 1)[-1] in _BUFFERS:
                    continue
                average = state[count]["ema"]
                if not _is_plain(key, average):
                    raise CheckpointError(
                        f"{path}: expected the average of {key} to be a dense real tensor, got another"
                    )
                average = average / (1 - AVERAGE_DECAY**step)
                if average.shape != value.shape:
                    raise CheckpointError(
                        f"{path}: the average of {key} has shape {tuple(average.shape)}, expected {tuple(value.shape)}"
                    )
                averaged[key] = average
                count += 1
            averages.append(averaged)
    except (KeyError, TypeError, AttributeError, ValueError, ZeroDivisionError) as error:
        raise CheckpointError(f"{path}: expected averaged weights in optim['state'], found none") from error
    return averages


def _complete_parameters(stages: list[dict[str, Tensor]], parameters: Parameters, source: str) -> Parameters:
    """The parameters with the sizes of the tensors, and with the settings of the authors' release."""
    try:
        *levels, coarsest = stages
        n_classes, keys = [], parameters.model_dump(exclude_unset=True)
        for squeeze, state in zip(parameters.squeezes, levels, strict=True):
            lstm = "conv_lstm_enc.prior_lstm."
            head = state["outc.conv.bias"] if squeeze == 0 else state[lstm + "conv_out1.bias"]
            n_classes.append(head.shape[0])
        keys |= {
            "image_channels": coarsest["u_input.weight_v"].shape[1] - 1,
            "n_channels": coarsest["u_input.bias"].shape[0],
            "n_res_layers": (1 + max(int(key.split(".")[1]) for key in coarsest if key.startswith("up_u_modules")))
            // 2,
            "n_classes": (*n_classes, coarsest["output_conv.bias"].shape[0]),
            "n_squeeze": parameters.squeezes,
        }
        if levels:
            keys |= {
                "C": levels[0]["inc.double_conv.0.bias"].shape[0],
                "condition_channels": levels[0]["outc.conv.bias"].shape[0],
                "lstm_channels": levels[0]["conv_lstm_enc.prior_lstm.lstm.weight_hh_l0"].shape[1],
                "n_layers": tuple(
                    1 + max(int(key.split(".")[1]) for key in state if key.startswith("downs.")) for state in levels
                ),
            }
    except (KeyError, ValueError, IndexError) as error:
        raise CheckpointError(
            f"{source}: expected the weights of the authors' release, but the model's sizes are missing ({error})"
        ) from error
    shift = 128 % parameters.n_values if parameters.dataset_name == "celeba_256" else 0
    try:
        published = {"norm": "batch", "residual": shift, "residual_unit": "range", "likelihood": "authors"}
        return parse_paper_parameters(keys | published, source)
    except ParameterError as error:
        raise CheckpointError(f"{error}; check that the parameters belong to this checkpoint") from error


def _translate_keys(state: dict[str, Tensor], squeeze: int | None, where: str) -> tuple[dict[str, Tensor], list[str]]:
    """The weights under our keys, and the unused keys: of dead layers, and of the ConvLSTM if n_squeeze is 0."""
    n_down = 1 + max((int(key.split(".")[1]) for key in state if key.startswith("up_u_modules")), default=0)
    translated: dict[str, Tensor] = {}
    unused: list[str] = []
    for key, value in state.items():
        name = _coarsest_name(key, n_down // 2) if squeeze is None else _level_name(key, squeeze)
        if name is None:
            unused.append(key)
        else:
            translated[name] = value
    for layer in {name.rsplit(".", 2)[0] for name in translated if name.endswith((".input.bias", ".hidden.bias"))}:
        _join_biases(translated, layer, where)
    return translated, unused


def _reorder_gates(gates: Tensor) -> Tensor:
    """The gates (input, forget, cell, output) along the first axis, in our order (forget, input, cell, output)."""
    entry, forget, *others = gates.chunk(4)
    return torch.cat([forget, entry, *others])


def _join_biases(translated: dict[str, Tensor], layer: str, where: str) -> None:
    """Replace the two biases of a ConvLSTM layer by their sum; if one is missing, the layer gets none."""
    ours, theirs = translated.pop(f"{layer}.input.bias", None), translated.pop(f"{layer}.hidden.bias", None)
    if ours is None or theirs is None:
        return
    if ours.shape != theirs.shape:
        raise CheckpointError(
            f"{where}, {layer}: expected two biases of one shape, got {tuple(ours.shape)} and {tuple(theirs.shape)}"
        )
    translated[f"{layer}.input.bias"] = ours + theirs


def _level_name(key: str, squeeze: int) -> str | None:
    block = re.fullmatch(r"(.+)\.double_conv\.([0134])\.(\w+)", key)
    if block is not None:
        place = re.fullmatch(r"inc|downs\.(\d+)\.maxpool_conv\.([02])|ups\.(\d+)\.(conv1|conv)", block[1])
        if place is None:
            return None
        if block[1] == "inc":
            inside = "stem"
        elif place[1] is not None:
            inside = f"downs.{place[1]}.{'before' if place[2] == '0' else 'after'}"
        else:
            inside = f"ups.{place[3]}.{'before' if place[4] == 'conv1' else 'join'}"
        return f"network.unet.{inside}.{_BLOCK[block[2]]}.{block[3]}"
    if key.startswith("outc.conv."):
        return f"network.unet.head.{key.removeprefix('outc.conv.')}"
    recurrent = re.fullmatch(r"conv_lstm_enc\.prior_lstm\.(?:lstm\.(weight|bias)_(ih|hh)_l([01])|(\w+)\.(\w+))", key)
    if recurrent is None or squeeze == 0:
        return None
    kind, source, layer, conv, parameter = recurrent.groups()
    if kind is not None:
        target = "hidden" if source == "hh" else "input"
        return f"network.conv_lstm.layers.{layer}.{target}.{kind}"
    name = {"conv_embed": "embed", "conv_out1": "head"}.get(conv)
    return None if name is None else f"network.conv_lstm.{name}.{parameter}"


def _coarsest_name(key: str, n_res_layers: int) -> str | None:
    *place, parameter = key.split(".")
    weight = _WEIGHT_NORM.get(parameter)
    if weight is None or not place:
        return None
    if place == ["output_conv"]:
        return f"network.pixel_cnn.head.{weight}"
    if len(place) == 1 and place[0] in _INPUTS:
        return f"network.pixel_cnn.{_INPUTS[place[0]]}.conv.{weight}"
    modules = re.fullmatch(r"(up|down)_(ul?)_modules", place[0])
    if modules is None or len(place) < 2:
        return None
    way, stream, position = "down" if modules[1] == "up" else "up", modules[2], int(place[1])
    inside = _GATED.get(place[2]) if len(place) == 3 else None
    if stream == "ul":  # of this stream only the last layer reaches the outputs
        last = way == "up" and position == 2 * n_res_layers + 1
        return f"network.pixel_cnn.ul_last.{inside}.{weight}" if last and inside else None
    if position == n_res_layers and len(place) == 2:
        return f"network.pixel_cnn.u_{'halve' if way == 'down' else 'double'}.conv.{weight}"
    layer = position - (position > n_res_layers)
    return None if inside is None else f"network.pixel_cnn.u_{way}.{layer}.{inside}.{weight}"
