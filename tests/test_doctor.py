"""`doctor` says what works, and finds what does not."""

import pytest
from command_line import json_of, output_of

import pixelpyramids as pp
from pixelpyramids.cli import doctor
from pixelpyramids.codec.native import supported_instructions

ENGINES = [each.name.lower() for each in supported_instructions()]


def test_all_is_well(capsys):
    facts = json_of(capsys, "doctor")
    assert facts["pixelpyramids"] == pp.__version__
    assert facts["codec"]["fault"] is None and facts["codec"]["encode"] > 0 and facts["codec"]["decode"] > 0
    assert facts["extras"]["images"]["imagecodecs"] and "dev" not in facts["extras"]
    out = output_of(capsys, "doctor").out
    assert "test: passed" in out and "extra images: imagecodecs" in out


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_makes_the_same_file(engine, capsys, monkeypatch):
    monkeypatch.setenv("PIXELPYRAMIDS_ENGINE", engine)
    facts = json_of(capsys, "doctor")
    assert facts["codec"]["fault"] is None and engine in facts["codec"]["slow"][0]


def test_another_file_is_a_fault(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "EXPECTED", "")
    assert "not the one that other machines make" in json_of(capsys, "doctor", expected=1)["codec"]["fault"]
    assert "test: FAILED" in output_of(capsys, "doctor", expected=1).out


def test_an_image_that_does_not_come_back_is_a_fault(capsys, monkeypatch):
    decode = pp.decode
    monkeypatch.setattr(pp, "decode", lambda file: decode(file) ^ 1)
    assert "did not come back" in json_of(capsys, "doctor", expected=1)["codec"]["fault"]


def test_an_engine_that_does_not_exist_is_named(capsys, monkeypatch):
    monkeypatch.setenv("PIXELPYRAMIDS_ENGINE", "abacus")
    out = output_of(capsys, "doctor", expected=1).out
    assert "expected one of reference" in out and "environment: PIXELPYRAMIDS_ENGINE=abacus" in out


def test_missing_packages_are_named_with_the_line_that_installs_them(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "installed_version", lambda package: None if package == "zarr" else "1.0")
    assert 'lacks zarr; pip install "pixelpyramids[zarr]"' in output_of(capsys, "doctor").out
