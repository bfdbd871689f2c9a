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
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pixelpyramids.errors import CheckpointError, DataError, ParameterError
from pixelpyramids.model.parameters import Parameters, parse_parameters, require_paper
from pixelpyramids.model.pixel_pyramid import PixelPyramid

AVERAGE_DECAY = 0.9995
_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
_TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_DAMAGE = (OSError, RuntimeError, EOFError, ValueError, LookupError, AttributeError, TypeError, AssertionError)
_THEIR_NAMES = (  # patterns in the names of our weights, which are replaced one after the other
    (r"\.conv1\.(\w+)$", r".double_conv.0.\1"),
    (r"\.norm1\.(\w+)$", r".double_conv.1.\1"),
    (r"\.conv2\.(\w+)$", r".double_conv.3.\1"),
    (r"\.norm2\.(\w+)$", r".double_conv.4.\1"),
    (r"^network\.unet\.stem\.", "inc."),
    (r"^network\.unet\.(downs\.\d+)\.before\.", r"\1.maxpool_conv.0."),
    (r"^network\.unet\.(downs\.\d+)\.after\.", r"\1.maxpool_conv.2."),
    (r"^network\.unet\.(ups\.\d+)\.before\.", r"\1.conv1."),
    (r"^network\.unet\.(ups\.\d+)\.join\.", r"\1.conv."),
    (r"^network\.unet\.head\.", "outc.conv."),
    (r"^network\.conv_lstm\.layers\.(\d)\.input\.(\w+)$", r"conv_lstm_enc.prior_lstm.lstm.\2_ih_l\1"),
    (r"^network\.conv_lstm\.layers\.(\d)\.hidden\.(\w+)$", r"conv_lstm_enc.prior_lstm.lstm.\2_hh_l\1"),
    (r"^network\.conv_lstm\.embed\.", "conv_lstm_enc.prior_lstm.conv_embed."),
    (r"^network\.conv_lstm\.head\.", "conv_lstm_enc.prior_lstm.conv_out1."),
    (r"^network\.pixel_cnn\.", ""),
    (r"\bparametrizations\.weight\.original0$", "weight_g"),
    (r"\bparametrizations\.weight\.original1$", "weight_v"),
    (r"\.conv([12])\.conv\.", r".c\1."),
    (r"\.auxiliary\.", ".c1c."),
    (r"^u_input\.conv\.", "u_input."),
    (r"^ul_input_above\.conv\.", "ul_input_d."),
    (r"^ul_input_left\.conv\.", "ul_input_dr."),
    (r"^head\.", "output_conv."),
)


class ImportedCheckpoint(NamedTuple):
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
    except (pickle.UnpicklingError, *_DAMAGE) as error:
        fault = "expected a checkpoint written by torch.save, but it cannot be read"
        if isinstance(error, pickle.UnpicklingError) and re.search("unsupported (global|class)", str(error), re.I):
            fault = "refused, because it holds more than tensors and plain values and would run code when loaded"
        raise CheckpointError(f"{path}: {fault}") from error
    return convert(_stages(content, parameters.L, path, averaged), parameters, str(path))


def convert(stages: list[dict[str, Tensor]], parameters: Parameters, source: str) -> ImportedCheckpoint:
    """The model of the authors' state dicts, one per stage. Raises CheckpointError as `read_checkpoint` does."""
    config = _complete_parameters(stages, parameters, source)
    model = PixelPyramid(config)
    unused: list[str] = []
    for index, (state, stage) in enumerate(zip(stages, model.stages, strict=True)):
        weights, used = stage.state_dict(), set()
        for key, ours in weights.items():
            name = _their_name(key, config.n_res_layers)
            names = [name, name.replace("_ih_", "_hh_")] if "bias_ih" in name else [name]  # two biases are added
            where = f"{source}: stage {index}, {names[-1]}"
            if not state.keys() >= set(names):
                raise CheckpointError(f"{where}: expected a weight of that name, found none")
            found = [state[name] for name in names]
            if any(value.shape != ours.shape for value in found):
                raise CheckpointError(
                    f"{where}: expected {tuple(ours.shape)}, got {tuple(found[-1].shape)}; check that the parameters "
                    "belong to this checkpoint"
                )
            value = found[0] if len(found) == 1 else found[0] + found[1]
            if not value.isfinite().all() or (key.endswith("running_var") and bool((value < 0).any())):
                raise CheckpointError(f"{where}: expected finite weights and no negative variances, got others")
            weights[key] = _reorder_gates(value) if ".layers." in key else value
            used |= set(names)
        stage.load_state_dict(weights)
        unused += [f"{index}: {key}" for key in state if key not in used]
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
    averages = [dict(stage) for stage in stages]
    names = [(stage, key) for stage in averages for key in stage if key.rsplit(".", 1)[-1] not in _BUFFERS]
    try:
        state = optimiser["state"]
        step = max(int(entry["step"]) for entry in state.values() if "step" in entry)
        for number, (stage, key) in enumerate(names):
            average = state[number]["ema"]
            if not _is_plain(key, average) or average.shape != stage[key].shape:
                raise CheckpointError(
                    f"{path}: expected the average of {key} to be a dense real tensor of shape "
                    f"{tuple(stage[key].shape)}, got {tuple(average.shape)}"
                )
            stage[key] = average / (1 - AVERAGE_DECAY**step)
    except (KeyError, TypeError, AttributeError, ValueError, ZeroDivisionError) as error:
        raise CheckpointError(f"{path}: expected averaged weights in optim['state'], found none") from error
    return averages


def _complete_parameters(stages: list[dict[str, Tensor]], parameters: Parameters, source: str) -> Parameters:
    """The parameters with the sizes of the tensors, and with the settings of the authors' release."""
    try:
        *levels, coarsest = stages
        heads = (
            "conv_lstm_enc.prior_lstm.conv_out1.bias" if squeeze else "outc.conv.bias"
            for squeeze in parameters.squeezes
        )
        n_classes = [state[head].shape[0] for head, state in zip(heads, levels, strict=True)]
        keys = parameters.model_dump(exclude_unset=True) | {
            "image_channels": coarsest["u_input.weight_v"].shape[1] - 1,
            "n_channels": coarsest["u_input.bias"].shape[0],
            "n_res_layers": _count_layers(coarsest, "up_u_modules.") // 2,
            "n_classes": (*n_classes, coarsest["output_conv.bias"].shape[0]),
            "n_squeeze": parameters.squeezes,
        }
        if levels:
            keys |= {
                "C": levels[0]["inc.double_conv.0.bias"].shape[0],
                "condition_channels": levels[0]["outc.conv.bias"].shape[0],
                "lstm_channels": levels[0]["conv_lstm_enc.prior_lstm.lstm.weight_hh_l0"].shape[1],
                "n_layers": tuple(_count_layers(state, "downs.") for state in levels),
            }
    except (KeyError, ValueError, IndexError) as error:
        raise CheckpointError(
            f"{source}: expected the weights of the authors' release, but the model's sizes are missing ({error})"
        ) from error
    shift = 128 % parameters.n_values if parameters.dataset_name == "celeba_256" else 0
    try:
        published = {"norm": "batch", "residual": shift, "residual_unit": "range", "likelihood": "authors"}
        return require_paper(parse_parameters(keys | published, source), source)
    except ParameterError as error:
        raise CheckpointError(f"{error}; check that the parameters belong to this checkpoint") from error


def _count_layers(state: dict[str, Tensor], name: str) -> int:
    return 1 + max(int(key.removeprefix(name).split(".")[0]) for key in state if key.startswith(name))


def _their_name(key: str, n: int) -> str:
    """The name of one of our weights in the release; its coarsest network has `n` layers at each resolution.

    Its "up" is our way down. Its layers that change the resolution are number n of all.
    """
    for pattern, name in _THEIR_NAMES:
        key = re.sub(pattern, name, key)
    key = key.replace("u_halve.conv.", f"up_u_modules.{n}.").replace("u_double.conv.", f"down_u_modules.{n}.")
    key = key.replace("ul_last.", f"down_ul_modules.{2 * n + 1}.")
    layer = re.match(r"u_(down|up)\.(\d+)\.", key)
    if layer is None:
        return key
    number = int(layer[2]) + (int(layer[2]) >= n)
    return f"{'up' if layer[1] == 'down' else 'down'}_u_modules.{number}.{key[layer.end() :]}"


def _reorder_gates(gates: Tensor) -> Tensor:
    """The gates (input, forget, cell, output) along the first axis, in our order (forget, input, cell, output)."""
    entry, forget, *others = gates.chunk(4)
    return torch.cat([forget, entry, *others])
