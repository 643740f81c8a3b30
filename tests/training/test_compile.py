"""When a training is compiled, and whether a compiled training learns the same."""

import logging

import pytest
import torch
from torch import nn
from training_runs import train

from fast_style.training import compile
from fast_style.training.compile import compile_in_place, has_compiler, should_compile

CPU = torch.device("cpu")
# torch.compile reads the gradient of the stylized image, which autograd does not keep.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")


@pytest.mark.parametrize(
    ("choice", "photos", "size", "expected"),
    [
        (True, 1, 64, True),
        (False, 10**9, 512, False),
        ("auto", 1999, 256, False),
        ("auto", 2000, 256, True),
        ("auto", 7999, 128, False),
        ("auto", 8000, 128, True),
    ],
)
def test_auto_compiles_long_enough_runs(monkeypatch, choice, photos, size, expected):
    monkeypatch.setattr(compile, "has_compiler", lambda _: True)
    assert should_compile(choice, photos=photos, size=size, device=CPU) is expected


def test_auto_needs_a_compiler(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert not has_compiler(CPU)
    assert not should_compile("auto", photos=10**6, size=256, device=CPU)


def test_auto_does_not_compile_on_unmeasured_devices():
    assert not should_compile("auto", photos=10**9, size=256, device=torch.device("mps"))


def test_another_choice_is_refused():
    with pytest.raises(ValueError, match=r"true, false or auto; got 'sometimes'"):
        should_compile("sometimes", photos=1, size=1, device=CPU)


def test_a_compiler_that_fails_does_not_end_a_forgiven_run(monkeypatch, caplog):
    def broken(*_):
        raise RuntimeError("no headers")

    monkeypatch.setattr("torch._inductor.compile_fx.compile_fx", broken)
    layer = nn.Linear(2, 2)
    with torch._dynamo.config.patch(suppress_errors=False), caplog.at_level(logging.INFO):
        compile_in_place(layer, forgiving=True)
        assert layer(torch.ones(1, 2)).shape == (1, 2)
    assert "compile=false" in caplog.text


def count_compilations(monkeypatch):
    """Let torch.compile only trace, which saves seconds of code generation, and record its calls."""
    traced = []

    def trace(graph, inputs):
        traced.append(torch.is_grad_enabled())
        return graph.forward

    monkeypatch.setattr(
        compile, "compile_in_place", lambda *networks, forgiving: [n.compile(backend=trace) for n in networks]
    )
    monkeypatch.setattr("fast_style.training.run.compile_in_place", compile.compile_in_place)
    return traced


@pytest.mark.slow
def test_the_training_is_compiled_and_the_validation_is_not(tmp_path, monkeypatch):
    torch.compiler.reset()
    traced = count_compilations(monkeypatch)
    train(tmp_path, compile="true")
    assert traced == [True, True]


def test_a_short_run_is_not_compiled(tmp_path, monkeypatch):
    traced = count_compilations(monkeypatch)
    train(tmp_path, compile="auto")
    assert traced == []


@pytest.mark.slow
@pytest.mark.skipif(not has_compiler(CPU), reason="torch.compile needs a C++ compiler")
def test_compiled_bfloat16_losses_follow_float32s(tmp_path):
    """50 steps from the same weights: within 1 % in the first 10 steps, 8 % at every step, 1 % in the mean."""
    vgg = {"loss_network": "vgg16", "loss_network.weights": "random", "loss.content_layers": "[relu1_2]"}
    plain = {
        "loss.style_levels": "[1.0]",
        "loss.content_levels": "[1.0]",
        "method.noise_std": 0,
        "method.loss_shift": 0,
        "loss.checkerboard_weight": 0,
    }
    losses = {}
    for name, settings in {
        "exact": {"precision": "32-true", "compile": "false"},
        "fast": {"precision": "bf16-mixed", "compile": "true"},
    }.items():
        torch.compiler.reset()
        outcome = train(
            tmp_path, steps=50, val_every=50, **settings, **vgg, **plain, **{"trainer.log_every_n_steps": 1}
        )
        losses[name] = curve(outcome.folder, "train/total")
    ratio = losses["fast"] / losses["exact"]
    assert len(ratio) == 50
    assert losses["exact"][-1] < 0.8 * losses["exact"][0]  # The training lowers the loss.
    assert (ratio[:10] - 1).abs().max() < 0.01
    assert (ratio - 1).abs().max() < 0.08
    assert (ratio - 1).mean().abs() < 0.01


def curve(folder, name):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return torch.tensor([event.value for event in EventAccumulator(str(folder)).Reload().Scalars(name)])


def test_a_run_goes_on_uncompiled_where_compiled_steps_are_not_finite(tmp_path, monkeypatch, caplog):
    def broken(graph, _):
        return lambda *inputs: tuple(output * torch.nan for output in graph.forward(*inputs))

    def compile_broken(*networks, forgiving):
        for network in networks:
            network.compile(backend=broken)

    torch.compiler.reset()
    monkeypatch.setattr("fast_style.training.run.compile_in_place", compile_broken)
    outcome = train(tmp_path, steps=5, val_every=5, compile="true")
    assert torch.isfinite(torch.tensor(outcome.metrics["train/total"]))
    assert len([line for line in caplog.messages if "is skipped" in line]) == 2
    assert "the training goes on without torch.compile" in caplog.text
    # The next run of this process compiles again.
    with pytest.raises(ValueError, match="not finite in the last steps"):
        train(tmp_path / "next", steps=1, val_every=1, compile="true")
