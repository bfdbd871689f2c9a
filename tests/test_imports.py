"""The arrows of the package point one way: a module imports only from layers below its own."""

import ast
import sys
from pathlib import Path

import pytest

import pixelpyramids

PACKAGE = Path(pixelpyramids.__file__).parent

# From the bottom up. A name stands for the module and for all inside it; modules of one layer do not see each other,
# but for those inside one package.
LAYERS = (
    {"errors", "pyramid", "walk"},
    {"octave", "stored_depth", "terminal", "interrupts"},
    {"reading_ahead", "arguments", "atomic", "extras", "device", "rate", "parameters", "exit_status"},
    {"likelihood", "networks", "data", "progress", "patches", "codec", "optimisation", "trackers"},
    {"compact_stage", "listing"},
    {"archive"},
    {"model"},
    {"authors", "provenance"},
    {"checkpoint"},
    {"loading", "export"},
    {"hub", "evaluation", "level_training", "memory"},
    {"session", "validation", "planning"},
    {"training"},
    {"report"},
    {"commands", "options"},
    {"cli_codec"},
    {"cli"},
    {"__main__"},
)
# The layers of a package that has several ideas inside, by the same rule.
INSIDE = {
    "networks": ({"unet", "conv_lstm", "pixel_cnn"}, {"level"}),
    "data": (
        {"tree", "reading", "photographs", "split_names"},
        {"splits", "images", "kept", "batches"},
        {"index", "identity"},
        {"folder", "varied", "prepared", "containers"},
        {"divided"},
        {"crops", "celeba_hq", "lsun", "imagenet", "shards"},
        {"hub", "stream"},
    ),
    "codec": (
        {"blas", "compiled", "fields", "outputs", "parts", "integer_network", "bit_depth", "resolution", "left_out"},
        {
            "kernels",
            "container",
            "engines",
            "pillow_pixels",
            "netpbm_file",
            "file_source",
            "library_messages",
            "pillow_gaps",
        },
        {"coder", "png_file"},
        {"compact_model", "metadata"},
        {"bundled", "planes", "tiff_file"},
        {"fallback", "lossy", "tiff_writer"},
        {"image"},
        {"image_file", "pillow_plugin", "zarr_codec"},
    ),
}
FREE_OF_TORCH = {
    "codec",
    "octave",
    "errors",
    "extras",
    "pyramid",
    "walk",
    "rate",
    "parameters",
    "arguments",
    "atomic",
    "data",
    "terminal",
    "stored_depth",
}

MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def name_of(path):
    """The dotted name of a module's file below the package; a package's own file gives the package."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def imports_of(path):
    """Every module that the file names in an import, anywhere in it; relative imports are a fault of style."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}, line {node.lineno}: import by the full name, not a relative one"
            # `from pixelpyramids import walk` imports the module pixelpyramids.walk
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from whole if is_package(node.module) else [node.module]


def is_package(module):
    return (PACKAGE.parent / module.replace(".", "/") / "__init__.py").is_file()


def ours(path):
    """Dotted names below the package that the file imports."""
    names = {name.partition(".")[2] for name in imports_of(path) if name.partition(".")[0] == "pixelpyramids"}
    assert "" not in names, f"{name_of(path)} imports the package as a whole: name the modules that it needs"
    return sorted(names - {"__version__"})


def layer_of(name, layers):
    for height, layer in enumerate(layers):
        if name in layer:
            return height
    pytest.fail(f"{name} has no place in the layers of {Path(__file__).name}: say there what it stands above and below")


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_arrows_point_one_way(path):
    top, _, inside = name_of(path).partition(".")
    height = layer_of(top, LAYERS)
    for imported in ours(path):
        other, _, part = imported.partition(".")
        if not ((PACKAGE / other).is_dir() or (PACKAGE / f"{other}.py").is_file()):
            pytest.fail(f"{name_of(path)} imports {other} from the package itself: name the module that defines it")
        if other != top:
            assert layer_of(other, LAYERS) < height, f"{name_of(path)} must not import {imported}: it is no layer below"
        elif top in INSIDE and inside and part:
            inner = INSIDE[top]
            assert layer_of(part.partition(".")[0], inner) < layer_of(inside.partition(".")[0], inner), (
                f"{name_of(path)} must not import {imported}: it is no layer below"
            )


def test_the_package_itself_imports_only_what_is_light():
    assert set(ours(PACKAGE / "__init__.py")) <= {"errors", "extras"}


@pytest.mark.parametrize(
    "path", [path for path in MODULES if name_of(path).partition(".")[0] in FREE_OF_TORCH], ids=name_of
)
def test_files_geometry_and_data_need_no_torch(path):
    assert not {name for name in imports_of(path) if name.partition(".")[0] in {"torch", "jaxtyping", "accelerate"}}
    assert {imported.partition(".")[0] for imported in ours(path)} <= FREE_OF_TORCH


@pytest.mark.parametrize("path", [path for path in MODULES if name_of(path).startswith("networks")], ids=name_of)
def test_networks_know_tensors_and_nothing_of_files(path):
    tops = {name.partition(".")[0] for name in imports_of(path)} - set(sys.stdlib_module_names) - {"pixelpyramids"}
    assert tops <= {"torch", "jaxtyping"}
    assert not {name.partition(".")[0] for name in imports_of(path)} & {"os", "pathlib", "io", "json"}


def test_every_layer_is_named_once():
    names = [name for layer in LAYERS for name in layer]
    assert len(names) == len(set(names))
