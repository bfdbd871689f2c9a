"""Training images are not scored silently: `train` refuses test images, `evaluate` chooses others by default."""

import json
import shutil
from functools import partial
from hashlib import sha256

import datasets
import numpy as np
import pytest
from command_line import json_of, output_of, refusal, status
from data_layouts import encode, noise, write_parquet, write_pictures, write_tar
from PIL import Image

from pixelpyramids.data.folder import open_folder
from pixelpyramids.data.identity import Fingerprints, data_identity
from pixelpyramids.data.splits import split_files
from pixelpyramids.model.parameters import load_parameters
from pixelpyramids.training.provenance import read_sessions
from pixelpyramids.training.publishing import PublishedRun

write = partial(write_pictures, size=16)


@pytest.fixture(scope="module")
def flat(tmp_path_factory):
    return write(tmp_path_factory.mktemp("images") / "flat", *(f"{number}.png" for number in range(40)))


@pytest.fixture(scope="module")
def run(tmp_path_factory, params, flat):
    return train(params, flat, tmp_path_factory.mktemp("runs") / "run")


def train(params, folder, run, *more):
    assert status("train", params, "--data", folder, "--out", run, "--steps", 1, "--device", "cpu", *more) == 0
    return run


def evaluate_folder(capsys, run, folder, *more):
    """The count of scored images, their split, and the line that names them."""
    result = json_of(capsys, "evaluate", run, "--data", folder, "--device", "cpu", *more)
    return result["images"], result["split"], result["which_images"]


def test_all_images_of_a_folder_without_splits_are_scored(run, tmp_path, capsys):
    other = write(tmp_path / "other", *(f"a/{number}.png" for number in range(25)), seed=1)
    assert evaluate_folder(capsys, run, other) == (25, "all", "")
    count, split, which = evaluate_folder(capsys, run, other, "--split", "test")
    assert (count, split) == (2, "test")
    assert which == "2 of 25 images: the test split by a hash of their paths; --split all scores all"
    assert "bits/dim on 25 images" in output_of(capsys, "evaluate", run, "--data", other, "--device", "cpu").out


@pytest.mark.parametrize("more", [(), ("--no-validation",)])
def test_the_test_split_of_the_training_folder_is_scored_and_named(params, run, flat, tmp_path, capsys, more):
    run = train(params, flat, tmp_path / "run", *more) if more else run
    which = "4 of 40 images: the test split of the training folder; --split all scores all"
    assert evaluate_folder(capsys, run, flat) == (4, "test", which)
    assert evaluate_folder(capsys, run, flat, "--split", "all") == (40, "all", "")
    moved = shutil.copytree(flat, tmp_path / "elsewhere" / "copy")
    assert evaluate_folder(capsys, run, moved) == (4, "test", which)
    assert which in output_of(capsys, "evaluate", run, "--data", flat, "--device", "cpu").out
    if more:
        assert "it held none out" in refusal(capsys, "evaluate", run, "--data", flat, "--split", "validation")
    else:
        assert evaluate_folder(capsys, run, flat, "--split", "validation")[:2] == (4, "validation")


@pytest.mark.parametrize("first", ["folder", "shards"])
@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_images_of_shards_may_be_those_of_the_test_split(params, flat, tmp_path, capsys, first, kind):
    contents = {file.name: file.read_bytes() for file in sorted(flat.iterdir())}
    if kind == "tar":
        write_tar(tmp_path / "shards/0.tar", contents)
    else:
        write_parquet(tmp_path / "shards/0.parquet", list(contents.values()))
    run, data = tmp_path / "run", (flat, tmp_path / "shards")
    for steps, folder in enumerate(data if first == "folder" else data[::-1], 1):
        assert status("train", params, "--data", folder, "--out", run, "--steps", steps, "--device", "cpu") == 0
    doubt = "but the run was trained on images that cannot be compared with these, and may be the same"
    count, split, which = evaluate_folder(capsys, run, flat)
    assert (count, split) == (4, "test")
    assert which == f"4 of 40 images: the test split of the training folder, {doubt}; --split all scores all"
    assert doubt in evaluate_folder(capsys, run, flat, "--split", "validation")[2]
    other = write(tmp_path / "other", *(f"{number}.png" for number in range(9)), seed=1)
    assert f"by a hash of their paths, {doubt}" in evaluate_folder(capsys, run, other, "--split", "test")[2]


def test_a_missing_record_of_the_training_images_is_reported(run, flat, tmp_path, capsys):
    run = shutil.copytree(run, tmp_path / "run")
    (run / "provenance.json").unlink()
    count, split, which = evaluate_folder(capsys, run, flat)
    assert (count, split) == (40, "all") and "the model's training images are not recorded" in which
    assert evaluate_folder(capsys, run, flat, "--split", "test")[0] == 4


def test_steps_of_an_earlier_version_leave_the_training_images_unknown(params, run, flat, tmp_path, capsys):
    run = shutil.copytree(run, tmp_path / "run")
    for record in ("provenance.json", "trained_on.npy"):
        (run / record).unlink()
    other = write(tmp_path / "other", *(f"{number}.png" for number in range(25)), seed=1)
    assert status("train", params, "--data", other, "--out", run, "--steps", 2, "--device", "cpu") == 0
    capsys.readouterr()
    count, split, which = evaluate_folder(capsys, run, flat)
    assert (count, split) == (40, "all") and "the model's training images are not recorded" in which
    assert json_of(capsys, "evaluate", run, "--data", flat, "--device", "cpu")["trained_on"] is None


def test_no_validation_images_of_a_stream_are_scored_if_none_were_held_out(params, tmp_path, capsys):
    write_parquet(tmp_path / "shards/0.parquet", [encode(noise(number, 16)) for number in range(5)])
    stream = f"stream:{tmp_path}/shards"
    run = train(params, stream, tmp_path / "run", "--no-validation")
    assert "it held none out" in refusal(capsys, "evaluate", run, "--data", stream, "--split", "validation")


@pytest.mark.parametrize("prefix", ["", "stream:"])
def test_shards_that_are_not_a_whole_data_set_of_the_paper_give_a_warning(params, tmp_path, capsys, prefix):
    keys = json.loads(params.read_text())["params"] | {"dataset_name": "celeba_256"}
    params = tmp_path / "params.json"
    params.write_text(json.dumps({"params": keys}))
    height, width = load_parameters(params).image_size
    for split in ("train", "test"):
        contents = [encode(noise(number, 16)[:height, :width]) for number in range(5)]
        write_parquet(tmp_path / f"shards/{split}.parquet", contents)
    status("data", "check", params, "--data", f"{prefix}{tmp_path}/shards")
    printed = capsys.readouterr().err
    assert "expected 26730 images in train, as celeba_256 has, got 4; figures are not comparable" in printed
    assert "expected 3000 images in test, as celeba_256 has, got 5; figures are not comparable" in printed


def test_a_training_folder_that_changed_is_refused(params, run, flat, tmp_path, capsys):
    folder = shutil.copytree(flat, tmp_path / "all" / "images")
    run = shutil.copytree(run, tmp_path / "run")
    record = run / "provenance.json"
    record.write_text(record.read_text().replace(str(flat), str(folder)))
    assert evaluate_folder(capsys, run, folder)[:2] == (4, "test")
    above = write(folder.parent, "more/a.png")
    below = write(folder / "later", *(f"{number}.png" for number in range(9)), seed=1)
    for asked in (folder, above, below):
        assert "any image here may have been trained on" in refusal(capsys, "evaluate", run, "--data", asked)
    assert "any image here" in refusal(capsys, "evaluate", run, "--data", folder, "--split", "test")
    assert evaluate_folder(capsys, run, folder, "--split", "all")[:2] == (49, "all")
    shutil.rmtree(below)
    for number in range(9):
        (folder / f"{number}.png").unlink()
    assert "any image here may have been trained on" in refusal(capsys, "evaluate", run, "--data", folder)
    write(folder, *(f"{number}.png" for number in range(40)), seed=1)
    assert "any image here may have been trained on" in refusal(capsys, "evaluate", run, "--data", folder)


def test_training_images_are_counted_in_any_folder(run, flat, tmp_path, capsys):
    def counted(folder, *more):
        return json_of(capsys, "evaluate", run, "--data", folder, "--device", "cpu", *more)["trained_on"]

    capsys.readouterr()
    renamed = tmp_path / "renamed"
    (renamed / "test").mkdir(parents=True)
    for file in flat.iterdir():
        shutil.copy(file, renamed / "test" / f"x{file.name}")
    assert counted(flat) == 0 and counted(flat, "--split", "train") == 32
    assert counted(renamed / "test") == counted(write(renamed, "train/a.png", seed=5)) == 32
    assert counted(write(tmp_path / "other", "a.png", "b.png", seed=6)) == 0
    captured = output_of(capsys, "score", run, renamed, "--device", "cpu", "--json")
    assert len(json.loads(captured.out)["trained_on"]) == 32
    assert "the model was trained on at least 32 of these images, for example" in " ".join(captured.err.split())
    assert "; 32 of them were trained" in " ".join(output_of(capsys, "evaluate", run, "--data", renamed).out.split())
    (tmp_path / "single").mkdir()
    shutil.copy(split_files(flat, "train")[0], tmp_path / "single")
    assert "; 1 of them was trained on" in " ".join(
        output_of(capsys, "evaluate", run, "--data", tmp_path / "single").out.split()
    )
    published = tmp_path / "published"
    PublishedRun(run).save_pretrained(published)
    run = published
    assert counted(renamed) == 32
    record = published / "provenance.json"
    record.write_text(record.read_text().replace('"images": 32,', '"images": 200000,'))  # as if half were recorded
    assert counted(renamed) == 32 and counted(tmp_path / "other") is None
    assert "; at least 32 of them" in " ".join(output_of(capsys, "evaluate", run, "--data", renamed).out.split())
    (published / "trained_on.npy").write_bytes(b"\x93NUMPY")
    assert "trained_on.npy: damaged; remove it" in refusal(capsys, "evaluate", run, "--data", flat)
    (published / "trained_on.npy").unlink()
    assert counted(renamed) is None


def test_records_of_earlier_versions_are_understood(params, tmp_path, capsys, monkeypatch):
    """They took the first and last 4 KiB of uncompressed files."""

    def of_ends(file):
        whole = file.read_bytes()
        return Fingerprints(*2 * [sha256(b"%d\n%b%b" % (len(whole), whole[:4096], whole[-4096:])).digest()])

    folder, copy = tmp_path / "images", tmp_path / "copy"
    folder.mkdir()
    for number in range(20):
        Image.fromarray(noise(number, 64)).save(folder / f"{number:02d}.bmp")
    with monkeypatch.context() as patch:
        patch.setattr("pixelpyramids.data.identity.file_fingerprints", of_ends)
        run = train(params, folder, tmp_path / "run")
    shutil.copytree(folder, copy)
    (session,) = read_sessions(run)
    assert session["training_data"]["sha256"] != data_identity(open_folder(folder, "train")).sha256
    capsys.readouterr()
    for place in (folder, copy):
        assert evaluate_folder(capsys, run, place)[:2] == (2, "test")
        result = json_of(capsys, "evaluate", run, "--data", place, "--split", "all", "--device", "cpu")
        assert (result["images"], result["trained_on"]) == (20, 16)
    assert status("train", params, "--data", folder, "--out", run, "--steps", 2, "--device", "cpu") == 0
    printed = capsys.readouterr().err
    assert "training images have changed" not in printed
    assert "best weights were chosen on other validation images" not in printed


def test_an_image_that_cannot_be_read_does_not_count_as_trained_on(params, tmp_path, capsys):
    folder = write(tmp_path / "images", *(f"train/{number}.png" for number in range(6)), "validation/a.png")
    cut = folder / "train" / "0.png"
    cut.write_bytes(cut.read_bytes()[:-200])
    run = train(params, folder, tmp_path / "run")
    result = json_of(capsys, "evaluate", run, "--data", folder, "--split", "train", "--device", "cpu", expected=1)
    assert (len(result["skipped"]), result["images"], result["trained_on"]) == (1, 4, 4)


def test_resuming_warns_if_training_images_are_test_images_now(params, run, flat, tmp_path, capsys):
    run = shutil.copytree(run, tmp_path / "run")
    folder = write(tmp_path / "images", "train/a.png", "train/b.png", seed=7)
    shutil.copytree(flat, folder / "Test")
    assert status("train", params, "--data", folder, "--out", run, "--steps", 1, "--device", "cpu") == 0
    assert "was trained on at least 32 of the images that are for validation or test now" in capsys.readouterr().err
    assert len(np.load(run / "trained_on.npy")) == 32  # of the new images none was trained on


def test_folders_of_splits_are_scored_by_their_names(params, tmp_path, capsys):
    parts = ("Train", 9), ("Val", 3), ("Test", 2)
    folder = write(tmp_path / "images", *(f"{part}/{number}.png" for part, count in parts for number in range(count)))
    run = train(params, folder, tmp_path / "run", "--no-validation")
    assert evaluate_folder(capsys, run, folder) == (2, "test", "")
    assert evaluate_folder(capsys, run, folder, "--split", "validation") == (3, "validation", "")


@pytest.mark.parametrize("held_out", ["test", "val"])
@pytest.mark.parametrize("how", ["copy", "link"])
def test_a_training_file_that_is_also_for_test_is_refused(params, tmp_path, capsys, held_out, how):
    names = [f"{split}/{number}.png" for split in ("train", "test", "val") for number in range(9)]
    folder = write(tmp_path / "images", *names)
    (folder / held_out / "5.png").unlink()
    if how == "copy":
        shutil.copy(folder / "train" / "7.png", folder / held_out / "other name.PNG")
    else:
        (folder / held_out / "other name.PNG").symlink_to(folder / "train" / "7.png")
    error = refusal(capsys, "train", params, "--data", folder, "--out", tmp_path / "run", "--steps", 1)
    assert "train/7.png" in error and f"{held_out}/other name.PNG; remove one of each pair" in error
    assert not (tmp_path / "run").exists()


def test_copies_in_a_folder_without_splits_are_a_warning(params, tmp_path, capsys):
    folder = write(tmp_path / "images", *(f"{number}.png" for number in range(30)))
    for number in range(30):
        shutil.copy(folder / f"{number}.png", folder / f"{number} copy.png")
    run = train(params, folder, tmp_path / "run")
    assert "warning:" in (said := capsys.readouterr().err) and "expected no training image among" in said
    other = write(tmp_path / "other", "a.png", seed=1)
    assert json_of(capsys, "evaluate", run, "--data", other, "--device", "cpu")["trained_on"] == 0


@pytest.mark.parametrize("folders", [(), ("test",)])
def test_copies_of_the_validation_images_among_the_training_images_are_a_warning(params, tmp_path, capsys, folders):
    folder, within = tmp_path / "images", "train/" if folders else ""
    write(folder, *(f"{within}{number}.png" for number in range(30)), *(f"{name}/x.png" for name in folders))
    held_out, *_ = split_files(folder, "validation")
    for number in range(8):  # several, because some of the copies may be held out themselves
        shutil.copy(held_out, held_out.with_name(f"copy {number}.png"))

    def shared(split, hold_out):
        train, other = (split_files(folder, name, hold_out=hold_out) for name in ("train", split))
        return {file.read_bytes() for file in train} & {file.read_bytes() for file in other}

    assert shared("validation", hold_out=True)
    train(params, folder, tmp_path / "run")
    printed = capsys.readouterr().err
    assert "warning:" in printed and "expected no training image among the validation and test images" in printed
    train(params, folder, tmp_path / "run-2", "--no-validation")
    assert ("expected no training image among" in capsys.readouterr().err) == bool(shared("test", hold_out=False))


@pytest.mark.parametrize("other", ["a", "back"])
def test_pictures_in_two_formats_in_a_folder_without_splits_are_a_warning(params, tmp_path, capsys, other):
    folder = write(tmp_path / "images", *(f"a/{number}.png" for number in range(30)))
    train(params, folder, tmp_path / "run")
    assert "in another format" not in capsys.readouterr().err
    (folder / other).mkdir(exist_ok=True)
    for number in range(30):
        Image.open(folder / f"a/{number}.png").save(folder / f"{other}/{number}.jpg")
    train(params, folder, tmp_path / "run-2")
    assert "have the name of a training image in another format, such as" in " ".join(capsys.readouterr().err.split())


def test_training_on_a_folder_named_test_or_validation_is_a_warning(params, tmp_path, capsys):
    for name, warned in (("test", True), ("Val", True), ("latest", False)):
        folder = write(tmp_path / "images" / name, *(f"{number}.png" for number in range(5)))
        train(params, folder, tmp_path / f"run_{name}")
        assert ("training on data named" in capsys.readouterr().err) == warned


def test_files_and_the_images_of_a_container_are_not_compared(params, run, flat, tmp_path, capsys):
    for split in ("train", "test"):
        write_parquet(tmp_path / f"shards/{split}.parquet", [file.read_bytes() for file in sorted(flat.iterdir())])
    of_container = train(params, tmp_path / "shards", tmp_path / "run")
    capsys.readouterr()
    for trained, folder, count in (
        (run, tmp_path / "shards", None),
        (of_container, flat, None),
        (of_container, tmp_path / "shards", 39),
    ):
        command = ("evaluate", trained, "--data", folder, "--device", "cpu")
        assert json_of(capsys, *command)["trained_on"] == count
        said = " ".join(output_of(capsys, *command).out.split())
        assert (f"; {count} of them were trained on" if count else "; not compared with the training images") in said


@pytest.mark.parametrize(
    ("name", "pattern"),
    [("set.Test", ""), ("val2017", ""), ("held-out", ""), ("a_valid_HR", ""), ("test", "/*.parquet")],
)
def test_training_on_shards_in_a_folder_named_test_or_validation_is_a_warning(params, tmp_path, capsys, name, pattern):
    write_parquet(tmp_path / "shards" / name / "0.parquet", [encode(noise(number, 16)) for number in range(5)])
    train(params, f"{tmp_path}/shards/{name}{pattern}", tmp_path / "run")
    assert f"training on data named {name}" in capsys.readouterr().err


def test_images_that_are_not_compared_are_reported(params, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("pixelpyramids.cli.contamination.FILES_AT_MOST", 9)
    train(params, write(tmp_path / "images", *(f"train/{number}.png" for number in range(11))), tmp_path / "run")
    assert "training images are not compared with validation and test images" in capsys.readouterr().err


def test_lists_of_splits_and_training_images_named_like_test_images_give_warnings(params, tmp_path, capsys):
    listed = write(tmp_path / "listed", *(f"images/{number}.png" for number in range(6)))
    (listed / "train_test_split.txt").write_text("1 0\n")
    train(params, listed, tmp_path / "run")
    assert "train_test_split.txt looks like a list of test images, but lists are not read" in capsys.readouterr().err
    assert status("data", "check", params, "--data", listed, "--json") == 0
    assert "train_test_split.txt looks like a list" in capsys.readouterr().err
    (listed / "train_test_split.txt").unlink()
    for name, content, is_list in (
        ("a.csv", "id,y,Split,place", True),
        ("b.tsv", '"file"\t"is_test"', True),
        ("c.csv", "file,label\ntest,1", False),
        ("metadata.csv", "file_name,Usage", True),
        ("other.csv", "file_name,memory_usage,data_set", False),
        ("metadata.jsonl", '{"file_name": "1.png", "split": "test"}\n', True),
        ("captions.jsonl", '{"file_name": "1.png", "text": "a split: test"}\n', False),
        ("numbers.jsonl", "[1]\n", False),
        ("damaged.jsonl", '{"split"', False),
        ("tri_testlist.txt", "", True),
        ("mimic-split.csv.gz", "", True),
    ):
        (listed / name).write_text(content, encoding="utf-8-sig")
        assert status("data", "check", params, "--data", listed) == 0
        assert (f"{name} looks like a list of test images" in capsys.readouterr().err) == is_list
        (listed / name).unlink()
    named_files = (f"train/a/{name}.png" for name in ("1", "2", "3", "ILSVRC2012_val_1", "contest"))
    named = write(tmp_path / "named", *named_files, "test/1.jpg", seed=1)
    (named / "test.txt").write_text("1\n")
    train(params, named, tmp_path / "run-named", "--no-validation")
    printed = capsys.readouterr().err
    assert "1 training image named like validation or test images" in printed
    assert "list of test images" not in printed


def test_tables_beside_the_images_whose_columns_name_splits_give_warnings(params, tmp_path, capsys):
    folder = write(tmp_path / "images", *(f"{number}.png" for number in range(6)))
    for column, is_list in (("split", True), ("Data_Split", True), ("caption", False)):
        table = folder / f"metadata-{len(column)}.parquet"
        datasets.Dataset.from_dict({"file_name": ["0.png"], column: ["a"]}).to_parquet(str(table))
        assert status("data", "check", params, "--data", folder) == 0
        assert (f"{table.name} looks like a list of test images" in capsys.readouterr().err) == is_list
        table.unlink()
    (folder / "damaged.parquet").write_bytes(b"PAR1")
    assert status("data", "check", params, "--data", folder) == 0
    assert "looks like a list" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("place", "images", "is_found"),
    [
        ("list_eval_partition.txt", "img_align_celeba", True),
        ("train_test_split.txt", "images", True),
        ("meta/test.json", "images", True),
        ("ImageSets/Main/test.txt", "JPEGImages", True),
        ("other/test.txt", "images", False),
        ("numbers/test.txt", "images", False),
        ("test.txt", "train", False),
    ],
)
def test_lists_of_splits_beside_the_folder_of_images_give_warnings(params, tmp_path, capsys, place, images, is_found):
    folder = write(tmp_path / images, *(f"pie/{number}.png" for number in range(1000, 1006)))
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    content = {
        "train_test_split.txt": "1 0\n2 1\n",
        "other/test.txt": "milk\n",
        "numbers/test.txt": "[1000, 1001.5, 1002.25]",
    }
    listed = json.dumps([f"pie/{number}" for number in range(1000, 1006)]).replace(", ", "\n")
    (tmp_path / place).write_text(content.get(place, listed))
    assert status("data", "check", params, "--data", folder, "--json") == 0
    printed = capsys.readouterr().err
    assert (f"{place} looks like a list of test images" in printed) == is_found


def test_names_are_compared_for_any_number_of_images(params, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("pixelpyramids.cli.contamination.FILES_AT_MOST", 1)
    folder = write(tmp_path / "images", *(f"{n}.{end}" for n in range(30) for end in ("png", "bmp")), "0_val_1.png")
    (folder / "test.txt").write_text("1\n")
    assert status("data", "check", params, "--data", folder, "--json") == 0
    printed = " ".join(capsys.readouterr().err.split())
    assert "1 training image named like validation or test images" in printed
    assert "have the name of a training image in another format" in printed
    assert "test.txt looks like a list" in printed


@pytest.mark.parametrize("out", ["new", "a/new", ""])
@pytest.mark.parametrize("command", [["train"], ["data", "check"]])
def test_writing_pictures_among_the_images_is_refused(params, tmp_path, capsys, command, out):
    folder = write(tmp_path / "photos", *(f"a/{number}.png" for number in range(20)))
    error = refusal(capsys, *command, params, "--data", folder, "--out", folder / out)
    assert f"outside the folder of images {folder}" in error
    assert not list(folder.rglob("parameters.json"))


def test_a_folder_without_known_splits_is_reported_as_divided_by_a_hash(params, tmp_path, capsys):
    line = "a hash of the paths assigns about a tenth of the images to test"
    pooled = write(tmp_path / "pooled", *(f"{name}/{i}.png" for name in ("entrenamiento", "prueba") for i in range(20)))
    split = write(tmp_path / "split", *(f"{name}/{i}.png" for name in ("train", "test") for i in range(20)))
    for folder, is_pooled in ((pooled, True), (split, False)):
        train(params, folder, tmp_path / f"run_{folder.name}")
        assert (line in capsys.readouterr().err) == is_pooled
        assert (line in output_of(capsys, "data", "check", params, "--data", folder).err) == is_pooled
