"""The float32 guard gives exact figures with any settings of torch, and restores the settings afterwards."""

import threading
import time
from operator import attrgetter

import pytest
import torch
from test_pixel_pyramid import random_images, tiny

from pixelpyramids.model.device import full_float32

HAS_PRECISIONS = hasattr(torch.backends, "fp32_precision")
OPERATIONS = ("cuda.matmul", "cudnn.conv", "mkldnn.matmul", "mkldnn.conv")


def set_precision(owner, value):
    attrgetter(owner)(torch).fp32_precision = value


def precisions():
    """What torch computes float32 in, by operation; its older settings if it has no others."""
    if HAS_PRECISIONS:
        return {name: attrgetter(name)(torch.backends).fp32_precision for name in OPERATIONS}
    return {"cudnn": torch.backends.cudnn.allow_tf32, "matmul": torch.get_float32_matmul_precision()}


@pytest.fixture
def settings():
    """Put torch's settings back after a test."""
    before = precisions()
    yield
    if HAS_PRECISIONS:
        for owner in ("backends", "backends.cudnn"):
            set_precision(owner, "none")
        for name, value in before.items():
            set_precision(f"backends.{name}", value)
    else:
        torch.backends.cudnn.allow_tf32 = before["cudnn"]
        torch.set_float32_matmul_precision(before["matmul"])


def assert_guarded():
    before = precisions()
    with full_float32():
        inside = precisions()
    assert set(inside.values()) <= {"ieee", "highest", False}
    assert precisions() == before


@pytest.mark.skipif(not HAS_PRECISIONS, reason="this torch has no fp32_precision")
@pytest.mark.parametrize("value", ["ieee", "tf32"])
@pytest.mark.parametrize("owner", ["backends", "backends.cudnn", *(f"backends.{name}" for name in OPERATIONS)])
def test_the_guard_holds_with_each_precision_of_each_operation(owner, value, settings):
    set_precision(owner, value)
    assert_guarded()


@pytest.mark.parametrize("allowed", [True, False])
@pytest.mark.parametrize("matmul", ["highest", "high", "medium"])
def test_the_guard_holds_with_the_older_settings(allowed, matmul, settings):
    torch.backends.cudnn.allow_tf32 = allowed
    torch.set_float32_matmul_precision(matmul)
    assert_guarded()
    assert torch.backends.cudnn.allow_tf32 == allowed
    assert torch.get_float32_matmul_precision() == matmul


@pytest.mark.skipif(not HAS_PRECISIONS, reason="this torch has no fp32_precision")
def test_an_operation_that_followed_the_general_precision_still_follows_it(settings):
    set_precision("backends", "tf32")
    for name in OPERATIONS:
        set_precision(f"backends.{name}", "none")
    with full_float32():
        pass
    assert set(precisions().values()) == {"tf32"}
    set_precision("backends", "ieee")
    assert set(precisions().values()) == {"ieee"}


def test_the_settings_are_put_back_after_an_error(settings):
    before = precisions()
    with pytest.raises(ZeroDivisionError), full_float32():
        raise ZeroDivisionError
    assert precisions() == before


def test_the_guard_of_one_thread_is_not_undone_by_another(settings):
    torch.backends.cudnn.allow_tf32 = True
    before, entered, leave, inside = precisions(), threading.Event(), threading.Event(), {}

    def hold():
        with full_float32():
            entered.set()
            leave.wait(9)

    def look():
        with full_float32():
            time.sleep(0.2)
            inside.update(precisions())

    first, second = threading.Thread(target=hold), threading.Thread(target=look)
    first.start()
    entered.wait(9)
    second.start()
    time.sleep(0.1)
    leave.set()
    first.join()
    second.join()
    assert set(inside.values()) <= {"ieee", "highest", False} and precisions() == before


@pytest.mark.parametrize("setting", ["autocast", "default dtype", "convolutions"])
def test_bfloat16_settings_change_no_figure(setting, settings):
    """Only a processor with fast bfloat16 could tell the difference for convolutions."""
    model = tiny(torch.float32)
    images = random_images(model, 2, 5, 7)
    nats, samples = model.rate(images).nats, model.sample(2, 5, 7)
    if setting == "default dtype":
        torch.set_default_dtype(torch.bfloat16)
    elif setting == "convolutions" and HAS_PRECISIONS:
        set_precision("backends.mkldnn.conv", "bf16")
    try:
        with torch.autocast("cpu", torch.bfloat16, enabled=setting == "autocast"):
            assert torch.equal(model.rate(images).nats, nats)
            assert torch.equal(model.sample(2, 5, 7), samples)
            assert torch.is_autocast_enabled("cpu") == (setting == "autocast")
            assert torch.get_default_dtype() == (torch.bfloat16 if setting == "default dtype" else torch.float32)
    finally:
        torch.set_default_dtype(torch.float32)
