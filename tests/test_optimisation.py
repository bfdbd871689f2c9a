"""The published recipe (Adam, its learning rate, its average) is compared with torch's and with formulas by hand."""

import copy
import json
import math

import pytest
import torch
from test_training import PUBLISHED, config, training

from benchmarks.plain import log_prob as plain_log_prob
from pixelpyramids.model.mixture import clamped_log_prob
from pixelpyramids.model.parameters import DATA_SETS, find_parameters, load_parameters
from pixelpyramids.model.pixel_pyramid import PixelPyramid
from pixelpyramids.training import run_directory
from pixelpyramids.training.optimisation import learning_rate, newest_share
from pixelpyramids.training.progress import Budget

STEPS = 8


@pytest.mark.parametrize("name", DATA_SETS)
def test_published_recipes_differ_from_ours_only_in_settings(name):
    ours = json.loads(find_parameters(name).read_text())["params"]
    theirs = json.loads(find_parameters(f"{name}_authors").read_text())["params"]
    assert ours.items() <= theirs.items()
    loaded = load_parameters(f"{name}_authors")
    assert {key: getattr(loaded, key) for key in theirs.keys() - ours.keys()} == PUBLISHED
    assert loaded.betas == (0.95, 0.9995) and loaded.learning_rate == 5e-4


def test_steps_of_the_published_recipe_equal_those_of_torch_and_the_formulas(folder, tmp_path):
    run = training(folder, tmp_path / "run", config(**PUBLISHED))
    hand = copy.deepcopy(run.levels[0].stage).train()
    adam = torch.optim.Adam(hand.parameters(), lr=5e-4, betas=(0.95, 0.9995))
    schedule = torch.optim.lr_scheduler.ExponentialLR(adam, 0.999995)
    first = [weight.detach().clone() for weight in hand.parameters()]
    average = [torch.zeros_like(weight) for weight in first]
    rates = []
    for step in range(STEPS):
        fine, coarse = run.config.decompose(torch.from_numpy(run.crops[step]).long())[0]
        values, n = hand.code(fine, coarse), 256
        assert torch.equal(values, (fine - coarse) % n)
        outputs = hand.network(2 * values / (n - 1) - 1, 2 * coarse / (n - 1) - 1)
        adam.zero_grad()
        (-plain_log_prob(outputs, values, n).sum() / len(fine)).backward()
        rates.append(adam.param_groups[0]["lr"])
        adam.step()
        schedule.step()
        average = [0.9995 * old + 0.0005 * new.detach() for old, new in zip(average, hand.parameters(), strict=True)]
    run.fit(Budget(steps=STEPS))
    level = run.levels[0]
    # Batch norm cancels the biases before it. Their gradient is noise, which Adam scales up like any other.
    names = [name for name, _ in hand.named_parameters()]
    chosen = [i for i, name in enumerate(names) if not name.endswith(("conv1.bias", "conv2.bias"))]

    def join_weights(weights):
        weights = list(weights)
        return torch.cat([weights[i].detach().flatten() for i in chosen])

    start = join_weights(first)
    moved = (join_weights(hand.parameters()) - start).norm()
    assert float((join_weights(level.stage.parameters()) - join_weights(hand.parameters())).norm() / moved) < 1.5e-3
    expected = join_weights(average) / (1 - 0.9995**STEPS)
    assert float((join_weights(level.average.parameters()) - expected).norm() / (expected - start).norm()) < 1.5e-3
    assert rates == pytest.approx([learning_rate(level.config, step, step / STEPS) for step in range(STEPS)])
    assert rates == pytest.approx([5e-4 * 0.999995**step for step in range(STEPS)])
    kept = run_directory.read_tensors(run_directory.level_file(tmp_path / "run", 0))[0]
    assert all(torch.equal(value, kept[key]) for key, value in level.stage.state_dict().items())


def test_the_unbiased_average_is_a_weighted_mean_of_all_weights():
    keys, values = config(average="unbiased", average_decay=0.9), [5.0, -1.0, 4.0, 2.0, 8.0]
    average = 100.0  # the starting value does not matter
    for step, value in enumerate(values, 1):
        average += newest_share(keys, step) * (value - average)
    shares = [0.9 ** (len(values) - 1 - i) for i in range(len(values))]
    assert average == pytest.approx(sum(s * v for s, v in zip(shares, values, strict=True)) / sum(shares))


def test_the_default_rate_warms_up_and_follows_a_cosine():
    keys = config(warmup_steps=9, learning_rate=2.0)
    assert learning_rate(keys, 0, 0.0) == pytest.approx(0.2)
    assert learning_rate(keys, 100, 0.5) == pytest.approx(2 * (0.01 + 0.99 / 2))
    assert learning_rate(keys, 200, 1.0) == pytest.approx(0.02)


def test_the_gradient_of_the_clamped_loss_equals_the_baselines():
    generator = torch.Generator().manual_seed(0)
    outputs = (3 * torch.randn(2, 30, 4, 5, generator=generator)).requires_grad_()
    values = torch.randint(0, 256, (2, 3, 4, 5), generator=generator)
    values[0, :, 0] = torch.tensor([0, 255, 7]).view(3, 1)
    (ours,) = torch.autograd.grad(clamped_log_prob(outputs, values, 256).sum(), outputs)
    (theirs,) = torch.autograd.grad(plain_log_prob(outputs, values, 256).sum(), outputs)
    assert float(theirs.abs().max()) > 1
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


def test_layers_have_torchs_initial_weights_if_the_recipe_says_so():
    model = PixelPyramid(config(initialisation="torch"))
    bound = 1 / math.sqrt(model.stages[0].network.head.weight[0].numel())
    for tensor in (model.stages[0].network.head.weight, model.stages[0].network.head.bias):
        assert 0.7 * bound < float(tensor.detach().abs().max()) <= bound


def test_validation_scores_the_weights_that_are_kept(folder, tmp_path):
    run = training(folder, tmp_path / "run", config(**PUBLISHED), validate=True, validation_images=100)
    drawn = []
    outcome = run.fit(Budget(steps=2), draw=drawn.append)
    stages = [level.stage for level in run.levels]
    assert all(list(model.stages) == stages for model in drawn) and drawn
    assert not any(stage.training for stage in stages)
    kept, images = run_directory.load(tmp_path / "run"), run.held_out
    arrays = [images.read(index) for index in range(len(images))]
    nats = sum(float(kept.rate(torch.from_numpy(array).long()[None]).total_nats) for array in arrays)
    bits = nats / math.log(2) / sum(array.size for array in arrays)
    assert outcome.validation.bits_per_dim == pytest.approx(bits, rel=1e-5)
