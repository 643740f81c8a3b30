"""Every YAML file composes, and every object in it can be built."""

import pytest
import torch
from checkout import CONF
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

GROUPS = [
    "method",
    "style",
    "data",
    "loss",
    "loss_network",
    "generator",
    "trainer",
    "experiment",
    "optimizer",
    "student",
]
GROUPS += ["optimization"]
CHOICES = [(group, file.stem) for group in GROUPS for file in sorted((CONF / group).glob("*.yaml"))]
ROOTS = [
    "train",
    "stylize",
    "evaluate",
    "evaluate_translation",
    "optimize",
    "prepare_shards",
    "distill",
    "export",
    "stylize_dataset",
]
LEARNERS = {"muon", "fused_adam", "adam_gan"}  # Optimisers for networks; the others are for image optimisation.
#: The script of each choice that scripts/train.py does not use.
ROOT_OF = {("loss", "image"): "optimize", ("loss", "distillation"): "distill", ("data", "distillation"): "distill"}


def composed(root: str, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(root, list(overrides))


@pytest.mark.parametrize(("group", "choice"), CHOICES)
def test_every_choice_composes_and_resolves(group: str, choice: str) -> None:
    if group == "optimizer":
        root = "train" if choice in LEARNERS else "optimize"
        cfg = composed(root, f"optimizer@method.optimizer={choice}", *(["content=null"] if root == "optimize" else []))
    elif group == "student":
        cfg = composed("distill", f"{group}={choice}")
    else:
        root = "optimize" if group == "optimization" else ROOT_OF.get((group, choice), "train")
        cfg = composed(root, f"{group}={choice}", *(["content=null"] if root == "optimize" else []))
    OmegaConf.resolve(cfg)


@pytest.mark.parametrize("choice", [choice for group, choice in CHOICES if group == "optimization"])
def test_every_recipe_of_image_optimisation_can_be_built(choice: str) -> None:
    cfg = composed("optimize", f"optimization={choice}", "loss_network=vgg19", "loss_network.weights=random")
    method = instantiate(cfg.method, _convert_="all")(
        loss_network=instantiate(cfg.loss_network, _convert_="all"), loss=instantiate(cfg.loss, _convert_="all")
    )
    optimizer = method.optimizer([torch.zeros(1, requires_grad=True)])
    settings = OmegaConf.to_container(cfg.method.optimizer)
    assert all(
        optimizer.param_groups[0][key] in (value, tuple(value or ()) if isinstance(value, list) else value)
        for key, value in settings.items()
        if not key.startswith("_") and value is not None
    )


@pytest.mark.parametrize("root", ROOTS)
def test_every_root_composes(root: str) -> None:
    assert composed(root).debug is False


def test_every_group_folder_is_covered() -> None:
    folders = {p.name for p in CONF.iterdir() if p.is_dir()} - {"hydra"}
    assert folders == set(GROUPS)


@pytest.mark.parametrize(
    ("group", "choice"), [c for c in CHOICES if c[0] in ("generator", "method", "trainer", "data")]
)
def test_every_target_takes_its_arguments(group: str, choice: str) -> None:
    named = {"folder": ["data.root=photos"], "unpaired": ["data.root=photos"], "hub": ["data.path=a/b"]}.get(choice, [])
    cfg = composed("distill" if choice == "distillation" else "train", f"{group}={choice}", *named)
    assert instantiate(cfg[group], _convert_="all") is not None


@pytest.mark.parametrize("choice", ["vgg16", "vgg19", "squeezenet1_1"])
def test_every_loss_network_has_the_layers_that_the_loss_asks_for(choice: str) -> None:
    cfg = composed("train", f"loss_network={choice}", "loss_network.weights=random")
    known = instantiate(cfg.loss_network, _convert_="all").names
    assert {*cfg.loss.content_layers, *cfg.loss.style_layers} <= set(known)


def test_johnson2016_has_the_papers_numbers() -> None:
    cfg = composed("train", "experiment=johnson2016")
    assert cfg.loss_network.architecture == "vgg16"
    assert list(cfg.loss.style_layers) == ["relu1_2", "relu2_2", "relu3_3", "relu4_3"]
    assert list(cfg.loss.content_layers) == ["relu2_2"]
    assert 1e-6 <= cfg.loss.tv_weight <= 1e-4
    assert (cfg.steps, cfg.data.batch_size, cfg.data.size) == (40_000, 4, 256)
    assert cfg.method.optimizer._target_ == "torch.optim.Adam"
    assert cfg.method.optimizer.lr == 1e-3
    assert cfg.method.schedule is None
    assert (cfg.generator.fractional_kernel, cfg.generator.residual_padding) == (3, "none")
    network = instantiate(cfg.generator, _convert_="all")
    assert round(sum(p.numel() for p in network.parameters()) / 1e6, 2) == 1.68


@pytest.mark.parametrize("choice", ["horse2zebra", "vangogh2photo", "cyclegan_tutorial"])
def test_a_recipe_of_a_translation_has_the_papers_numbers(choice: str) -> None:
    cfg = composed("train", f"experiment={choice}", "data.root=photos")
    assert cfg.task == "translation"
    identity = 0.0 if choice == "horse2zebra" else 0.5
    assert (cfg.method.cycle_weight, cfg.method.identity_weight, cfg.method.pool_size) == (10, identity, 50)
    assert (cfg.method.optimizer.lr, list(cfg.method.optimizer.betas)) == (2e-4, [0.5, 0.999])
    assert (cfg.method.average_decay, cfg.method.discriminator_shift, cfg.generator.skip) == (0, 0, False)
    assert (cfg.data.size, cfg.data.load_size, cfg.data.batch_size) == (256, 286, 1)
    assert (cfg.discriminator.width, cfg.generator.blocks, cfg.generator.upsample) == (64, 9, "fractional")
    assert cfg.generator.width == (32 if choice == "cyclegan_tutorial" else 64)
    epochs = cfg.method.schedule.constant_epochs, cfg.method.schedule.decay_epochs
    assert epochs == (100, 100)
    if choice != "cyclegan_tutorial":
        assert cfg.steps == 200 * {"horse2zebra": 1334, "vangogh2photo": 6287}[choice]


def test_the_short_recipe_of_a_translation_keeps_the_papers_discriminators() -> None:
    cfg = composed("train", "experiment=cyclegan_short", "data.root=photos")
    paper = composed("train", "experiment=vangogh2photo", "data.root=photos")
    differ = {"average_decay", "cycle_weight", "discriminator_shift", "identity_weight", "schedule"}
    assert {key for key, value in cfg.method.items() if value != paper.method[key]} == differ
    assert cfg.discriminator == paper.discriminator
    assert (cfg.generator.upsample, cfg.generator.skip) == ("linear", True)
    assert cfg.method.schedule.total_steps == cfg.steps


def test_the_command_line_overrides_the_method() -> None:
    cfg = composed("train", "method=cyclegan", "generator=slim", "data.root=photos", "steps=7")
    assert (cfg.generator.width, cfg.steps, cfg.method.schedule.total_steps) == (16, 7, 7)
    assert composed("train").task == "style"


def test_a_misspelt_group_lists_the_choices() -> None:
    with pytest.raises(HydraException, match=r"(?s)starry_night.*wave"):
        composed("train", "style=stary_night")


def test_a_misspelt_key_is_named() -> None:
    with pytest.raises(HydraException, match="widht"):
        composed("train", "generator.widht=8")


def test_a_student_teacher_and_loss_can_be_built() -> None:
    cfg = composed("distill", "loss_network=vgg19", "loss_network.weights=random")
    student = instantiate(cfg.student, _convert_="all")
    loss = instantiate(cfg.loss, _convert_="all")(
        teacher=instantiate(cfg.loss_network, _convert_="all"), student=student, examples=torch.rand(1, 3, 64, 64)
    )
    instantiate(cfg.method, _convert_="all")(student=student, loss=loss).configure_optimizers()


@pytest.mark.parametrize("choice", sorted(LEARNERS))
def test_an_optimiser_of_networks_takes_its_settings(choice: str) -> None:
    cfg = composed("train", f"optimizer@method.optimizer={choice}")
    parameters = torch.nn.Conv2d(3, 4, 3).parameters()
    optimizer = instantiate(cfg.method.optimizer, _convert_="all")(parameters)
    assert optimizer.param_groups[0]["lr"] == cfg.method.optimizer.lr
