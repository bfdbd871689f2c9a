"""Parameter files: the authors' files load unchanged, and each fault is named in the error."""

import json

import pytest
from command_line import KEYS, ROOT, write_params

from pixelpyramids.errors import ParameterError
from pixelpyramids.model.parameters import (
    CompactParameters,
    Parameters,
    find_parameters,
    load_parameters,
    parse_parameters,
    require_paper,
)

SHIPPED = sorted((ROOT / "params").glob("*.json"))
SIDES = {"celeba_1024": 1024, "celeba_256": 256}  # of the images of the paper's data sets
SIDES |= dict.fromkeys(("imagenet_128", "lsun_bedroom", "lsun_church", "lsun_tower"), 128)

# The files of the authors' release, key by key; imagenet_128, lsun_church and lsun_tower have none.
AUTHORS_KEYS = ("batch_size", "L", "C", "n_bits", "n_classes", "n_squeeze", "n_channels", "n_res_layers")
AUTHORS = {
    "celeba_256": (48, 13, 64, 5, 13 * [100], 4 * [2] + 8 * [1], 32, 2),
    "celeba_1024": (32, 17, 64, 8, 17 * [100], 19 * [1], 96, 5),
    "lsun_bedroom": (4, 11, 64, 5, 11 * [100], 4 * [2] + 6 * [1], 96, 5),
}
DEPTHS = {  # U-Net depth of each level, finest first
    "celeba_256": [4, 4, 4, 3, 2, 1, 1, 1, 1, 1, 1, 1],
    "celeba_1024": [4, 4, 4, 4, 4, 4, 4, 3, 2, 1, 1, 1, 1, 1, 1, 1],
    "lsun_bedroom": [4, 4, 4, 4, 3, 3, 2, 2, 1, 1],
}


def keys(**changed):
    small = {"n_bits": 5, "L": 3, "n_classes": [30, 20, 10], "n_squeeze": [1, 0], "batch_size": 2}
    ours = ("condition_channels", "lstm_channels")
    merged = KEYS | small | changed
    return {key: value for key, value in merged.items() if value is not None and (key in changed or key not in ours)}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_file_loads_by_path_and_by_name(path, monkeypatch, tmp_path):
    by_path = load_parameters(path)
    assert by_path == load_parameters(str(path))
    monkeypatch.chdir(tmp_path)
    assert by_path == load_parameters(path.stem) == load_parameters(path.name)
    name = path.stem.removesuffix("_authors")
    is_theirs = name != path.stem
    assert (by_path.likelihood == "authors") == (by_path.norm == "batch") == is_theirs
    if name in SIDES:
        about = json.loads(path.read_text(encoding="utf-8"))["about"]
        assert is_theirs or (about["known"] and about["unknown"] and "reached" in about)
        assert by_path.dataset_name == name
        assert by_path.image_size == (SIDES[name], SIDES[name])


@pytest.mark.filterwarnings("ignore:.*the rest is ignored:UserWarning")
@pytest.mark.parametrize("name", AUTHORS)
def test_the_authors_files_work_unchanged(name, tmp_path):
    published = dict(zip(AUTHORS_KEYS, AUTHORS[name], strict=True))
    theirs = published | {"dataset_name": name, "data_root": "./data", "eval_interval": 1}
    loaded = load_parameters(write_params(tmp_path / "theirs.json", theirs))
    for key, value in theirs.items():
        assert getattr(loaded, key) == (tuple(value) if isinstance(value, list) else value)
    for shipped in load_parameters(name), load_parameters(f"{name}_authors"):
        for key, value in published.items():
            used = shipped.L - 1 if key == "n_squeeze" else None
            assert getattr(shipped, key) == (tuple(value[:used]) if isinstance(value, list) else value)


@pytest.mark.parametrize("name", DEPTHS)
def test_depths_follow_the_formula_of_the_release(name):
    loaded = load_parameters(name)
    assert [loaded.depth(level) for level in range(loaded.L - 1)] == DEPTHS[name]
    assert [parse_parameters(keys(n_layers=[3, 2]), "keys").depth(level) for level in range(2)] == [3, 2]


def test_surplus_entries_are_ignored_with_a_warning(tmp_path):
    path = write_params(
        tmp_path / "p.json", keys(n_squeeze=[1, 0, 4, 4], n_classes=[30, 20, 7, 10], n_layers=[1, 2, 3])
    )
    with pytest.warns(UserWarning) as caught:
        loaded = load_parameters(path)
    messages = sorted(str(warning.message) for warning in caught)
    assert messages == [
        f"{path}: n_classes has 4 entries, but L = 3 uses 3; the rest is ignored "
        "(the last entry is for the coarsest stage)",
        f"{path}: n_layers has 3 entries, but L = 3 uses 2; the rest is ignored",
        f"{path}: n_squeeze has 4 entries, but L = 3 uses 2; the rest is ignored",
    ]
    assert loaded.squeezes == (1, 0)
    assert [loaded.outputs(stage) for stage in range(3)] == [30, 20, 10]


def test_the_last_entry_of_n_classes_serves_the_coarsest_stage():
    loaded = parse_parameters(keys(n_classes=[30, 20]), "keys")
    assert [loaded.outputs(stage) for stage in range(3)] == [30, 20, 20]
    alone = parse_parameters(keys(L=1, n_classes=[10], n_squeeze=[]), "keys")
    assert alone.squeezes == () and alone.image_size == (4, 4) and alone.outputs(0) == 10


FAULTS = [
    (keys(L=None), "L is missing"),
    (keys(C=None, n_bits=None), "n_bits is missing; C is missing"),
    (keys(n_clases=[10]), "n_clases is not a key of parameter files"),
    (keys(n_squeeze=[1]), r"n_squeeze: expected at least 2 entries for L = 3, got 1"),
    (keys(n_classes=[10]), r"n_classes: expected at least 2 entries for L = 3, got 1"),
    (keys(n_classes=[], L=1), r"n_classes: expected at least 1 entries for L = 1, got 0"),
    (keys(n_layers=[1]), r"n_layers: expected at least 2 entries for L = 3, got 1"),
    (keys(n_classes=[30, 25, 10]), r"n_classes: expected multiples of 10 for 3 image channels, got 25 for stage 1"),
    (keys(image_channels=1), r"n_classes: expected multiples of 3 for 1 image channels, got 20 for stage 1"),
    (keys(image_channels=5), r"image_channels: .*, got 5"),
    (keys(n_bits=17), r"n_bits: .*, got 17"),
    (keys(L=0), r"L: .*, got 0"),
    (keys(L="thirteen"), r"L: .*, got 'thirteen'"),
    (keys(n_squeeze=[1, -1]), r"n_squeeze.1: .*, got -1"),
    (keys(n_squeeze=7), r"n_squeeze: .*, got 7"),
    (keys(residual="median"), r"residual.*, got 'median'"),
    (keys(likelihood="authors", residual="value"), r'likelihood "authors" is defined for residuals'),
    (keys(likelihood="authors", residual_unit="fine"), r'likelihood "authors" is defined for residuals'),
    (keys(learning_rate=0), r"learning_rate: .*, got 0"),
    (keys(betas=[0.9, 1.0]), r"betas.1: .*, got 1.0"),
    (keys(initialisation="zero"), r"initialisation: .*, got 'zero'"),
]


@pytest.mark.parametrize("params, message", FAULTS, ids=[message for _, message in FAULTS])
def test_faulty_parameters_are_refused_and_named(params, message, tmp_path):
    with pytest.raises(ParameterError, match=f"^keys: .*{message}"):
        parse_parameters(params, "keys")
    path = write_params(tmp_path / "p.json", params)
    with pytest.raises(ParameterError, match=message) as caught:
        load_parameters(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"{", "expected a JSON file of parameters"),
        (b"\xff\xfe\x00", "expected a JSON file of parameters"),
        (b"[]", 'expected an object {"params"'),
        (b'{"L": 3}', 'expected an object {"params"'),
        (b'{"params": []}', 'expected an object {"params"'),
        (b'{"params": {}}', "dataset_name is missing; batch_size is missing"),
    ],
)
def test_a_file_without_parameters_is_refused(content, message, tmp_path):
    path = tmp_path / "p.json"
    path.write_bytes(content)
    with pytest.raises(ParameterError, match=message) as caught:
        load_parameters(path)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    "path", ["no_such_set", "no_such_set.json", "elsewhere/celeba_256.json", "/nowhere/celeba_256"]
)
def test_the_error_for_a_missing_file_lists_the_shipped_files(path, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ParameterError, match=f"^{path}: no such parameter file.*: {', '.join(p.stem for p in SHIPPED)}$"
    ):
        load_parameters(path)


def test_an_existing_file_is_preferred_to_a_shipped_name_but_a_folder_is_not(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "celeba_256").mkdir()
    assert find_parameters("celeba_256").is_absolute()
    own = write_params(tmp_path / "celeba_256.json", keys())
    assert find_parameters("celeba_256.json").resolve() == own


def test_every_key_is_documented():
    text = (ROOT / "docs" / "reference" / "parameters.md").read_text()
    known = Parameters.model_fields.keys() | CompactParameters.model_fields.keys()
    assert {key for key in known if f"`{key}`" not in text} == set()


COMPACT = {"kind": "compact", "dataset_name": "c", "batch_size": 8, "n_bits": 8, "width": 48, "trunk_blocks": 4}


def test_each_kind_has_its_own_keys():
    compact = parse_parameters(COMPACT | {"components": 5}, "keys")
    with pytest.raises(ValueError, match="frozen"):
        compact.width = 4
    assert isinstance(compact, CompactParameters) and compact.n_stages == 1 and compact.image_size == (96, 96)
    for params, fault in (
        (COMPACT, "components is missing"),
        (COMPACT | {"components": 5, "L": 1}, "L is not a key"),
        (keys(width=48), "width is not a key"),
        (keys(crop_size=96), "crop_size is not a key"),
        (keys(kind="large"), "kind: .*, got 'large'"),
    ):
        with pytest.raises(ParameterError, match=f"^keys: {fault}"):
            parse_parameters(params, "keys")
    with pytest.raises(ParameterError, match="expected the parameters of the paper's model"):
        require_paper(compact, "keys")


def test_files_of_versions_with_one_kind_load():
    """A run directory has all keys of its version."""
    old = {"network": "unet_convlstm", "head_layers": 2, "crop_size": 96}
    assert parse_parameters(keys() | old, "old") == parse_parameters(keys(), "new")
    compact = {
        "dataset_name": "c", "batch_size": 8, "L": 1, "C": 48, "n_bits": 8, "n_classes": [50], "n_squeeze": [],
        "n_channels": 48, "n_res_layers": 4, "network": "compact", "head_layers": 1, "crop_size": 128, "n_layers": None,
        "condition_channels": 100, "norm": "channel", "residual": "value", "likelihood": "exact", "patch_size": None,
    }  # fmt: skip
    new = COMPACT | {"components": 5, "head_blocks": 1, "crop_size": 128}
    assert parse_parameters(compact, "old") == parse_parameters(new, "new")
    for lost, fault in (("C", "width is missing"), ("n_classes", "components is missing")):
        with pytest.raises(ParameterError, match=fault):
            parse_parameters({key: value for key, value in compact.items() if key != lost}, "old")
