from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from resnet_deploy.core.errors import ConfigError, MissingDependencyError
from resnet_deploy.nets.catalogue import build_net, find_net
from resnet_deploy.train.distributed import SINGLE
from resnet_deploy.train.recipe import Recipe
from resnet_deploy.train.recipe_book import load_recipe, override_recipe
from resnet_deploy.train.step import StepSettings, TrainStep


def recipe(**changes) -> Recipe:
    return override_recipe(load_recipe("paper-cifar"), changes)


def small_net() -> nn.Module:
    torch.manual_seed(0)
    return build_net(find_net("resnet8"))


def batch(count: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(count, 3, 16, 16, generator=generator).contiguous(memory_format=torch.channels_last)
    return images, torch.randint(0, 10, (count,), generator=generator)


def step_of(net: nn.Module, chosen: Recipe, **settings) -> TrainStep:
    return TrainStep(net, chosen, StepSettings(**settings), SINGLE)


def by_hand(net: nn.Module, chosen: Recipe, rate: float, steps: int, *, parts: int = 1, clip: float = 0.0) -> nn.Module:
    """Oracle: the textbook loop, SGD's update written out (arXiv:1512.03385 gives momentum 0.9 and decay 1e-4)."""
    net = net.to(memory_format=torch.channels_last).train()
    velocity = {name: torch.zeros_like(p) for name, p in net.named_parameters()}
    images, labels = batch()
    for _ in range(steps):
        net.zero_grad()
        for part, wanted in zip(images.chunk(parts), labels.chunk(parts), strict=True):
            (functional.cross_entropy(net(part), wanted) / parts).backward()
        norm = torch.sqrt(sum((p.grad**2).sum() for p in net.parameters()))
        scale = min(1.0, clip / (float(norm) + 1e-6)) if clip else 1.0
        with torch.no_grad():
            for name, parameter in net.named_parameters():
                gradient = parameter.grad * scale + chosen.weight_decay * parameter
                velocity[name] = chosen.momentum * velocity[name] + gradient
                parameter -= rate * velocity[name]
    return net


def largest_difference(a: nn.Module, b: nn.Module) -> float:
    return max(float((p - q).detach().abs().max()) for p, q in zip(a.parameters(), b.parameters(), strict=True))


# Two orders of the same float32 sums: a relative 1e-7 on gradients of size up to 1, times rate 0.05, over 3 steps that
# amplify it by less than 10 a step; a wrong part, factor or missing decay moves weights by more than 1e-5.
_TOLERANCE = 5e-6


@pytest.mark.parametrize("parts", [1, 2])
def test_three_steps_are_those_of_the_textbook(parts):
    net = small_net()
    expected = by_hand(copy.deepcopy(net), recipe(), 0.05, 3, parts=parts)
    step = step_of(net, recipe(), accumulate=parts)
    for _ in range(3):
        step.run(*batch(), rate=0.05)
    assert largest_difference(step.net, expected) < _TOLERANCE
    wrong = by_hand(small_net(), recipe(), 0.05, 3, parts=3 - parts)  # planted: BN over the other parts
    assert largest_difference(step.net, wrong) > _TOLERANCE


def test_gradients_are_clipped_together():
    expected = by_hand(small_net(), recipe(), 0.05, 2, clip=0.1)
    step = step_of(small_net(), recipe(clip_norm=0.1))
    for _ in range(2):
        step.run(*batch(), rate=0.05)
    assert largest_difference(step.net, expected) < _TOLERANCE
    assert largest_difference(step.net, by_hand(small_net(), recipe(), 0.05, 2)) > _TOLERANCE


def test_loss_and_wrong_answers_are_those_before_the_step():
    net = small_net()
    reference = copy.deepcopy(net).train()
    images, labels = batch()
    logits = reference(images)
    loss, wrong = step_of(net, recipe()).run(images, labels, rate=0.1)
    assert float(loss) == pytest.approx(float(functional.cross_entropy(logits, labels).detach()), abs=1e-6)
    assert int(wrong) == int((logits.argmax(1) != labels).sum())


def test_norms_and_biases_have_their_own_decay():
    step = step_of(small_net(), recipe(norm_weight_decay=0.0))
    decayed, free = step.optimizer.param_groups
    assert (decayed["weight_decay"], free["weight_decay"]) == (1e-4, 0.0)
    assert all(p.ndim > 1 for p in decayed["params"]) and all(p.ndim == 1 for p in free["params"])
    assert len(decayed["params"]) + len(free["params"]) == len(list(step.net.parameters()))
    assert len(step_of(small_net(), recipe()).optimizer.param_groups) == 1


def test_moving_average_follows_its_formula():
    # w <- d w + (1 - d) x, d = min(decay, (1 + t) / (10 + t)) after t averaged steps, beginning with the first weights
    step = step_of(small_net(), recipe(ema_decay=0.15))
    expected = None
    for done in range(4):
        step.run(*batch(), rate=0.05)
        now = step.net.conv1.weight.detach().clone()
        decay = min(0.15, (1 + done) / (10 + done))
        expected = now if expected is None else decay * expected + (1 - decay) * now
    # two roundings a step on weights below 1
    torch.testing.assert_close(step.weights.conv1.weight, expected, rtol=0, atol=1e-6)
    assert step.weights is not step.net
    assert not torch.equal(step.weights.bn1.running_mean, step.net.bn1.running_mean)


def test_bf16_runs_convolutions_in_bf16_and_keeps_float32_weights():
    net, seen = small_net(), []
    net.layer1[0].conv1.register_forward_hook(lambda module, args, output: seen.append(output.dtype))
    loss, _ = step_of(net, recipe(), amp="bf16").run(*batch(), rate=0.05)
    assert seen == [torch.bfloat16]
    assert loss.dtype == torch.float32
    assert all(p.dtype == torch.float32 for p in net.parameters())


def test_settings_that_can_not_be_are_refused():
    with pytest.raises(ConfigError, match="amp is 'fp8'"):
        StepSettings(amp="fp8")
    with pytest.raises(ConfigError, match="accumulate is 0"):
        StepSettings(accumulate=0)
    if not torch.cuda.is_available():
        with pytest.raises(MissingDependencyError, match="fp16 training needs a CUDA device"):
            step_of(small_net(), recipe(), amp="fp16")


@pytest.mark.slow
def test_compiled_steps_are_the_plain_ones_but_for_rounding():
    plain, compiled = step_of(small_net(), recipe()), step_of(small_net(), recipe(), compile=True)
    for _ in range(3):
        plain.run(*batch(), rate=0.05)
        compiled.run(*batch(), rate=0.05)
    assert compiled.net.state_dict().keys() == plain.net.state_dict().keys()
    assert largest_difference(plain.net, compiled.net) < _TOLERANCE
