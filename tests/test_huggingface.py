"""Parquet, WebDataset and hub data sets: what is mapped, what is streamed, and which damage is reported."""

import pickle
import subprocess
import sys
import warnings
from collections import Counter
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from command_line import ENVIRONMENT, KEYS, json_of, output_of, status, write_params
from data_layouts import encode, noise, write_files, write_parquet, write_tar
from test_training import assert_equal_runs
from torch.utils.data import DataLoader

from pixelpyramids.cli.data_opening import open_images
from pixelpyramids.data.containers.arrow import ArrowEntries
from pixelpyramids.data.crops import Crops
from pixelpyramids.data.folder import open_folder
from pixelpyramids.data.huggingface import is_hub, is_stream, open_hub, open_shards
from pixelpyramids.data.stream import Stream
from pixelpyramids.errors import DataError
from pixelpyramids.model.parameters import Parameters
from pixelpyramids.training.loop import Training
from pixelpyramids.training.progress import Budget

SIZE = (6, 5)
TINY = KEYS | {"L": 2, "n_classes": [20, 20], "n_squeeze": [1]}
PARAMETERS = Parameters.model_validate(TINY)


def pixels(number, height=8, width=7):
    """Picture `number`, which is also the value of its red channel."""
    values = noise(number, height, width)
    values[..., 0] = number
    return values


def content(number, **size):
    return encode(pixels(number, **size))


def write_webdataset(path, contents):
    members = {}
    for number, picture in reversed(list(enumerate(contents))):
        members |= {f"{number:05d}.json": b"{}", f"{number:05d}.png": picture}
    write_tar(path, members)


WRITE = {"parquet": write_parquet, "tar": write_webdataset}


def shards(root, kind, train=(5, 4, 6, 3, 7), test=(4, 2)):
    """Write training pictures 0, 1, … and test pictures 100, 101, … to shards with these counts."""
    for split, counts, number in (("train", train, 0), ("test", test, 100)):
        for index, count in enumerate(counts):
            path = root / f"{split}-{index:05d}-of-{len(counts):05d}.{kind}"
            WRITE[kind](path, [content(i) for i in range(number, number + count)])
            number += count
    return root


@pytest.fixture(scope="module", params=["parquet", "tar"])
def streamed(request, tmp_path_factory):
    return f"stream:{shards(tmp_path_factory.mktemp('shards'), request.param)}"


@pytest.fixture(scope="module")
def parquet(tmp_path_factory):
    return str(shards(tmp_path_factory.mktemp("parquet"), "parquet"))


def equal_to_sources(images, numbers):
    assert len(images) == len(images.files) == len(images.sizes) == len(numbers)
    for index, number in enumerate(numbers):
        assert (images.read(index) == pixels(number).transpose(2, 0, 1)).all()


def test_mapped_data_are_named_by_split_and_row(parquet):
    assert str(open_hub(parquet, "test", size=(8, 7)).files[3]) == f"{parquet}/test/3"
    assert is_hub(parquet) and not is_stream(parquet)
    equal_to_sources(open_hub(parquet, "all"), [*range(100, 106), *range(25)])


def test_published_validation_is_the_test_split_unless_there_is_one(tmp_path):
    for split in ("train", "valid"):
        write_parquet(tmp_path / split / "0.parquet", [content(i) for i in range(4)])
    assert len(open_hub(str(tmp_path), "test")) == 4
    assert len(open_hub(str(tmp_path), "validation")) == 1
    write_parquet(tmp_path / "test" / "0.parquet", [content(9)])
    equal_to_sources(open_hub(str(tmp_path), "test"), [9])
    equal_to_sources(open_hub(str(tmp_path), "validation"), range(4))
    equal_to_sources(open_hub(str(tmp_path), "train"), range(4))


def test_a_data_set_of_the_hub_is_opened_by_its_builder(parquet, monkeypatch):
    """A builder like those that the library makes for a name, with splits and files, replaces the hub."""
    named = []

    def builder(name, config=None):
        named.append((name, config))
        return load(parquet)

    load = datasets.load_dataset_builder
    monkeypatch.setattr(datasets, "load_dataset_builder", builder)
    equal_to_sources(open_hub("hub:owner/name:default", "test"), range(100, 106))
    assert str(open_hub("hub:owner/name", "test").files[0]) == "hub:owner/name/test/0"
    assert named == [("owner/name", "default"), ("owner/name", None)]
    assert {stored for _, stored in open_shards("stream:owner/name").read_all()} == set(map(content, range(1, 25)))


def test_images_of_any_size_are_cropped_and_a_wrong_size_is_refused(tmp_path):
    sizes = [(8, 7), (20, 9), (6, 5)]
    write_parquet(tmp_path / "0.parquet", [content(i, height=h, width=w) for i, (h, w) in enumerate(sizes)])
    images = open_hub(str(tmp_path), "train", hold_out=False)
    assert images.sizes.tolist() == [list(size) for size in sizes]
    assert Crops(images, SIZE, 4)[3].shape == (4, 3, *SIZE)
    with pytest.raises(DataError, match=r"expected 20x9 pixels .* got 8x7"):
        open_hub(str(tmp_path), "train", size=(20, 9))


def test_damaged_rows_are_named_and_skipped(tmp_path):
    write_parquet(tmp_path / "0.parquet", [content(0), b"no image", None, content(3)[:90], content(4)])
    with pytest.warns(UserWarning, match=r"skipped 2 unreadable image\(s\): .*/train/1: .* \| .*/train/2: .*empty"):
        images = open_hub(str(tmp_path), "train", hold_out=False)
    assert [Path(file).name for file in images.files] == ["0", "3", "4"]
    with pytest.raises(DataError, match="train/3: expected an image that Pillow can read"):
        images.read(1)


def test_images_that_lie_beside_a_table_are_read(tmp_path):
    (tmp_path / "a.png").write_bytes(content(7))
    rows = [{"bytes": None, "path": str(tmp_path / "a.png")}, {"bytes": None, "path": str(tmp_path / "b.png")}]
    table = datasets.Dataset.from_dict({"image": rows}).cast_column("image", datasets.Image(decode=False))
    entries = ArrowEntries(table, Path("table"))
    assert entries.read(0) == content(7)
    with pytest.raises(DataError, match=r"table/1: expected its image in .*b\.png"):
        entries.read(1)


def test_names_without_data_are_refused(tmp_path, parquet, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner" / "here").mkdir(parents=True)
    for name in (f"stream:{tmp_path}", "hub:a/b/c", "hub:owner/here", f"stream:{tmp_path}/*.tar", "stream:./none"):
        with pytest.raises(DataError, match="expected hub:owner/name, stream:owner/name, or a folder or glob"):
            open_hub(name, "train")
    with pytest.raises(DataError, match=r"expected data that `datasets` can open, got .*owner/name"):
        open_hub("hub:owner/name", "train")
    write_webdataset(tmp_path / "a.tar", [content(0)])
    write_parquet(tmp_path / "a.parquet", [content(0)])
    with pytest.raises(DataError, match="shards of one kind, got both"):
        open_hub(str(tmp_path), "train")
    assert len(open_hub(f"{tmp_path}/*.parquet", "train", hold_out=False)) == 1


@pytest.mark.parametrize("prefix", ["", "stream:"])
def test_glob_characters_in_names_of_folders_are_literal(tmp_path, prefix):
    write_parquet(tmp_path / "a[1]*" / "test-0.parquet", [content(0), content(1)])
    assert len(open_hub(f"{prefix}{tmp_path / 'a[1]*'}", "test")) == 2


def test_folders_of_images_stay_folders_of_images(tmp_path):
    write_webdataset(tmp_path / "a.tar", [content(0)])
    assert is_hub(str(tmp_path)) and is_stream(str(tmp_path)) and is_stream(f"{tmp_path}/*.tar")
    (tmp_path / "train").mkdir()
    assert not is_hub(str(tmp_path)) and not is_stream(str(tmp_path))
    (tmp_path / "train").rmdir()
    write_files(tmp_path, {"a.png": content(0)})
    assert not is_hub(str(tmp_path))


@pytest.mark.parametrize("beside", ["photos/1.png", "photos/more/1.png"])
def test_shards_among_the_images_of_a_folder_do_not_hide_them(tmp_path, beside):
    write_webdataset(tmp_path / "photos/backup.tar", [content(0)])
    assert is_hub(str(tmp_path)) and is_hub(str(tmp_path / "photos"))
    write_files(tmp_path, {beside: content(1)})
    for folder in (tmp_path, tmp_path / "photos"):
        assert not is_hub(str(folder)) and not is_stream(str(folder))
    assert is_hub(f"{tmp_path}/photos/*.tar") and is_hub(f"stream:{tmp_path}")


def test_split_folders_of_images_with_tables_beside_the_images_are_read(tmp_path):
    for split, count in (("train", 3), ("test", 2)):
        write_files(tmp_path / split, {f"{number}.png": content(number) for number in range(count)})
        datasets.Dataset.from_dict({"file_name": ["0.png"]}).to_parquet(str(tmp_path / split / "metadata.parquet"))
    assert len(open_images(PARAMETERS, tmp_path, "test")) == 2


@pytest.mark.parametrize(("columns", "count"), [(["label"], 0), (["image", "mask"], 2)])
@pytest.mark.parametrize("prefix", ["", "stream:"])
def test_no_image_column_or_several_are_named(tmp_path, columns, count, prefix):
    kind = {"label": datasets.Value("int64")}
    features = datasets.Features({name: kind.get(name, datasets.Image()) for name in columns})
    row = {name: 1 if name in kind else {"bytes": content(0), "path": None} for name in columns}
    datasets.Dataset.from_list([row], features).to_parquet(str(tmp_path / "0.parquet"))
    with pytest.raises(DataError, match=rf"expected one column of images .* got {count} among {columns[0]}"):
        open_hub(f"{prefix}{tmp_path}", "all")


@pytest.mark.parametrize("prefix, column", [("", "split"), ("stream:", "split"), ("", "is_test"), ("", "Subset")])
def test_a_column_that_names_splits_is_reported(tmp_path, prefix, column):
    write_parquet(tmp_path / "0.parquet", [content(number) for number in range(4)], **{column: [*"aab", "test"]})
    with pytest.warns(UserWarning, match=f"the column {column} is not read"):
        open_hub(f"{prefix}{tmp_path}", "all")


@pytest.fixture(scope="module", params=["parquet", "tar", "folder"])
def source(request, tmp_path_factory):
    """Training images, as `batches` opens them."""
    root = tmp_path_factory.mktemp("source")
    if request.param == "folder":
        return str(write_files(root, {f"train/{number:05d}.png": content(number) for number in range(25)}))
    return f"stream:{shards(root, request.param)}"


def batches(source, seed=0):
    if is_stream(source):
        return stream(source, seed=seed)
    return Crops(open_folder(source, "train"), SIZE, 4, seed, flip=True)


def stream(root, batch_size=4, buffer=6, seed=0, hold_out=True, **options):
    return Stream(open_shards(root, hold_out=hold_out), SIZE, batch_size, seed, True, buffer=buffer, **options)


def test_evaluation_splits_of_a_stream_are_images(streamed):
    test = open_hub(streamed, "test")
    equal_to_sources(test, range(100, 106))
    equal_to_sources(pickle.loads(pickle.dumps(test)), range(100, 106))
    equal_to_sources(open_hub(streamed, "validation"), [0])  # 1 % of 25, at least one, the first
    equal_to_sources(open_hub(streamed, "all"), [*range(100, 106), *range(25)])
    with pytest.raises(DataError, match="only for training"):
        open_hub(streamed, "train")
    with pytest.raises(DataError, match="hold images out, or choose another split"):
        open_hub(streamed, "validation", hold_out=False)


def test_what_is_held_out_is_never_trained_on(streamed):
    held, whole, crops = open_shards(streamed), open_shards(streamed, hold_out=False), stream(streamed)
    assert (held.total, whole.total) == (24, 25) and held.counts == [4, 4, 6, 3, 7]
    seen = Counter(int(b) for step in range(60) for b in crops[step][:, 0, 0, 0])
    assert set(seen) == set(range(1, 25))
    for begin, part in enumerate((whole, held)):
        assert [stored for _, stored in part.read_all()] == list(map(content, range(begin, 25)))
    assert [len(list(whole.read(shard))) for shard in range(len(whole))] == whole.counts


def test_a_crop_is_a_window_of_its_image(source):
    crops = batches(source)
    for step in range(5):
        batch, files = crops[step], crops.files_of(step)
        assert batch.shape == (4, 3, *SIZE) and batch.dtype == np.uint8
        for crop, file in zip(batch, files, strict=True):
            number = int(crop[0, 0, 0])
            assert file.name == f"{number:05d}.png" or is_stream(source)
            image = pixels(number).transpose(2, 0, 1)
            windows = [image[:, y : y + 6, x : x + 5] for y in range(3) for x in range(3)]
            assert any((crop == w).all() or (crop == w[..., ::-1]).all() for w in windows)


def test_batches_depend_on_the_seed_and_the_step_alone(source):
    one, again = batches(source), pickle.loads(pickle.dumps(batches(source)))
    expected = [one[step] for step in range(30)]
    for step in (0, 1, 2, 17, 5, 29):  # one by one, ahead, and back
        assert (one[step] == expected[step]).all()
    for workers, crops in ((1, again), (3, one)):  # the second was read from in this process
        loader = DataLoader(crops, batch_size=None, sampler=range(3, 30), num_workers=workers)
        for step, batch in enumerate(loader, 3):
            assert (batch.numpy() == expected[step]).all()
    for other in [batches(source, seed=1), *([stream(source, buffer=100)] if is_stream(source) else [])]:
        assert not all((other[step] == expected[step]).all() for step in range(3))


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_share_each_batch(source, processes):
    whole, parts = batches(source), [batches(source).share(i, processes) for i in range(processes)]
    for step in range(8):
        batch = whole[step]
        for index, part in enumerate(parts):
            assert (part[step] == batch[index::processes]).all()
            assert list(part.samples(step)) == list(whole.samples(step))[index::processes]
        assert parts[0].files_of(step) == whole.files_of(step)
    with pytest.raises(DataError, match="divides among 3 processes"):
        whole.share(0, 3)


class Memory:
    """Shards of numbered pictures in memory that count what is read of them."""

    def __init__(self, counts, counted=True):
        self.held, self.read_from = counts, Counter()
        self.counts, self.total = (counts, sum(counts)) if counted else (None, None)
        self.names = [f"shard{i}" for i in range(len(counts))]

    def __len__(self):
        return len(self.held)

    def read(self, shard):
        for number in range(self.held[shard]):
            self.read_from[shard] += 1
            yield Path(self.names[shard], str(number)), content(shard)


@pytest.mark.parametrize("counts", [(5,) * 4, (5,) * 24, (5, 9, 1), (3,) * 13])
@pytest.mark.parametrize("batch_size", [1, 8])
def test_every_image_is_seen_equally_often(counts, batch_size):
    crops, rounds = Stream(Memory(counts), (8, 7), batch_size, buffer=5), 30
    seen = Counter(file for step in range(rounds * sum(counts) // batch_size) for file in crops.files_of(step))
    assert len(seen) == sum(counts)
    if len(counts) % crops._lanes == 0 and len(set(counts)) == 1:
        assert max(seen.values()) - min(seen.values()) <= len(counts)
    assert min(seen.values()) > 0.5 * rounds and max(seen.values()) < 1.8 * rounds


def test_starting_late_skips_the_epochs_that_are_counted():
    early, late = (Stream(Memory((50,) * 12), (8, 7), 4, buffer=24) for _ in range(2))
    expected = [early[step] for step in range(1003)]
    assert (late[1002] == expected[1002]).all()
    assert sum(late.shards.read_from.values()) <= 50 * 12
    uncounted = Stream(Memory((50,) * 12, counted=False), (8, 7), 4, buffer=24)
    assert (uncounted[1002] == expected[1002]).all()
    assert uncounted.steps_per_epoch == 1000 and uncounted.count is None
    assert [str(file) for file in uncounted.files_of(3)] == uncounted.shards.names


def test_workers_and_processes_read_their_own_lanes():
    crops = Stream(Memory((5,) * 96), (8, 7), 8, buffer=96)
    assert crops._lanes == 96
    part = crops.share(1, 2)
    for step in range(1, 25, 4):  # the second of four workers, in the second of two processes
        part[step]
    assert len(part._reading) == 96 / 8


def test_damaged_images_are_named_once_and_replaced(tmp_path):
    contents = [content(i) for i in range(8)]
    contents[2], contents[5] = b"no image", contents[5][:90]
    write_webdataset(tmp_path / "0.tar", contents)
    root = str(tmp_path)
    with pytest.warns(UserWarning) as caught:
        whole = stream(root, hold_out=False)
        batches = [whole[step] for step in range(12)]
    names = [str(warning.message).partition(":")[0].rpartition("/")[2] for warning in caught]
    assert sorted(names) == ["00002.png", "00005.png"]
    assert {int(b) for batch in batches for b in batch[:, 0, 0, 0]} == {0, 1, 3, 4, 6, 7}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for index in range(2):
            part = stream(root, hold_out=False).share(index, 2)
            assert all((part[step] == batches[step][index::2]).all() for step in (0, 1, 7, 11))


def test_images_of_a_wrong_size_stop_a_stream(tmp_path):
    write_webdataset(tmp_path / "0.tar", [content(i, height=5) for i in range(4)])
    with pytest.raises(DataError, match=r"0\.tar/0000\d\.png: expected an image of at least 6x5 pixels"):
        stream(str(tmp_path))[0]
    with pytest.raises(DataError, match=r"expected 6x7 pixels .* got 5x7"):
        stream(str(tmp_path), image_size=(6, 7))[0]


def test_a_stream_without_images_is_an_error(tmp_path):
    write_webdataset(tmp_path / "0.tar", [content(0)])
    with pytest.raises(DataError, match=r"expected images to train on in .*0\.tar"):
        stream(str(tmp_path))
    with pytest.raises(DataError, match="expected images to train on in shard0"):
        Stream(Memory((0, 0), counted=False), SIZE, 1)[0]
    noise = Memory((3,))
    noise.read = lambda shard: ((Path(str(i)), b"noise") for i in range(3))
    with pytest.warns(UserWarning), pytest.raises(DataError, match="100 damaged ones in a row"):
        Stream(noise, SIZE, 1)[0]


@pytest.mark.parametrize("prefix", ["", "stream:"])
def test_a_split_without_rows_is_refused_by_name(tmp_path, prefix):
    write_parquet(tmp_path / "test-0.parquet", [])
    with pytest.raises(DataError, match=r"(?s)" + str(tmp_path)):
        open_hub(f"{prefix}{tmp_path}", "test")


def test_missing_shards_are_reported(tmp_path):
    root = shards(tmp_path, "tar", train=(6, 6, 6), test=(6,))
    (root / "train-00001-of-00003.tar").unlink()
    with pytest.warns(UserWarning, match=r"expected 3 shards train-\*-of-\*, as their names say, got 2"):
        assert len(open_shards(f"stream:{root}")) == 2


def test_spooled_images_leave_nothing_behind(streamed, tmp_path):
    script = (
        "import sys, tempfile\nfrom pixelpyramids.data.huggingface import open_hub\n"
        "from torch.utils.data import DataLoader\n"
        f"images = open_hub({streamed!r}, 'test')\nimages.in_memory = False\n"
        "loader = DataLoader(range(6), batch_size=None, collate_fn=images.read, num_workers=2)\n"
        "for epoch in range(2):\n    print(sum(int(x.sum()) for x in loader))\n"
    )
    environment = ENVIRONMENT | {"TMPDIR": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    total = sum(int(pixels(i).astype(int).sum()) for i in range(100, 106))
    assert run.stdout.split() == [str(total)] * 2
    assert not list(tmp_path.glob("pixelpyramids-*"))


def test_resuming_on_a_stream_gives_the_same_weights(streamed, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.multiprocessing, "cpu_count", lambda: 2 if "parquet" in streamed else 0)

    def training(name):
        crops = Stream(open_shards(streamed), PARAMETERS.image_size, 4, flip=True)
        return Training(PARAMETERS, tmp_path / name, crops, device="cpu", bfloat16=False)

    def kill(report):
        if report.step == 3:
            raise RuntimeError("killed")

    training("whole").fit(Budget(steps=5))
    with pytest.raises(RuntimeError, match="killed"):
        training("parts").fit(Budget(steps=5), report=kill, checkpoint_minutes=0.0)
    parts = training("parts")
    assert parts.step == 2
    parts.fit(Budget(steps=5))
    assert_equal_runs(tmp_path / "whole", tmp_path / "parts")


def test_the_commands_train_and_evaluate_on_a_stream(streamed, tmp_path, capsys):
    params, run = write_params(tmp_path / "tiny.json", TINY), tmp_path / "run"
    printed = output_of(capsys, "train", params, "--data", streamed, "--out", run, "--epochs", 1, "--device", "cpu").err
    for text in ("24 images to train on, 1 to validate on", "6 steps an epoch", "trained 6 steps"):
        assert text in printed
    assert len(json_of(capsys, "evaluate", run, "--data", streamed)["per_image"]) == 6


def test_a_stream_of_unknown_length_needs_a_budget(streamed, tmp_path, monkeypatch, capsys):
    params = write_params(tmp_path / "tiny.json", TINY)
    monkeypatch.setattr("pixelpyramids.cli.data_opening.open_shards", lambda *_, **__: Memory((9,), counted=False))
    common = ("train", params, "--data", streamed, "--out", tmp_path / "run", "--device", "cpu", "--no-validation")
    assert status(*common) == 2 and "expected --steps or --minutes" in capsys.readouterr().err
    assert status(*common, "--steps", 1) == 0
