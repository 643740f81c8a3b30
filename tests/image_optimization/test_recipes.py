"""The recipes of scripts/optimize.py match their sources: each loss equals the formulas here, in float64."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from checkout import CONF
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor, nn
from torchvision.models.vgg import cfgs, make_layers

from fast_style.image_optimization.loss import Style
from fast_style.image_optimization.method import Iterate, PictureOptimization
from fast_style.networks.loss_network import LossNetwork

SIZE = (40, 48)
Terms = dict[str, Tensor]


@cache
def composed(recipe: str, *overrides: str) -> DictConfig:
    chosen = [] if recipe == "default" else [f"optimization={recipe}"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("optimize", [*chosen, *overrides])


def method_of(cfg: DictConfig, network: LossNetwork) -> PictureOptimization:
    """Build the method as scripts/optimize.py does."""
    return instantiate(cfg.method, _convert_="all")(loss_network=network, loss=instantiate(cfg.loss, _convert_="all"))


@dataclass(frozen=True)
class Case:
    """A recipe with VGG-19, and torchvision's modules in float64 with the same weights."""

    name: str
    cfg: DictConfig
    method: PictureOptimization
    vgg: nn.Sequential


@pytest.fixture(scope="module")
def case(request: pytest.FixtureRequest) -> Case:
    torch.manual_seed(0)
    cfg = composed(request.param, "loss_network=vgg19", "loss_network.weights=random")
    network = instantiate(cfg.loss_network, _convert_="all")
    with torch.device("meta"):
        copy = make_layers(cfgs["E"])
    weights = [buffer.double().contiguous() for name, buffer in network.named_buffers() if name.startswith("layers.")]
    copy.load_state_dict(dict(zip(copy.state_dict(), weights, strict=True)), assign=True)
    return Case(request.param, cfg, method_of(cfg, network), copy.requires_grad_(False))


# ---- the sources


def seen(vgg: nn.Sequential, picture: Tensor, pool: Callable[[Tensor, int], Tensor]) -> list[Tensor]:
    """Return the output of each torchvision module by its index."""
    mean, std = torch.tensor([0.485, 0.456, 0.406]).double(), torch.tensor([0.229, 0.224, 0.225]).double()
    x, found = (picture.double() - mean.view(3, 1, 1)) / std.view(3, 1, 1), []
    for module in vgg[:30]:
        x = pool(x, 2) if isinstance(module, nn.MaxPool2d) else x.relu() if isinstance(module, nn.ReLU) else module(x)
        found.append(x)
    return found


# torchvision's layer indices.
CONVS = {"conv1_1": 0, "conv2_1": 5, "conv3_1": 10, "conv4_1": 19, "conv4_2": 21, "conv5_1": 28}
RELUS = {name.replace("conv", "relu"): number + 1 for name, number in CONVS.items()}
FIRST_OF_STAGES = ("1_1", "2_1", "3_1", "4_1", "5_1")


def matrix(features: Tensor) -> Tensor:
    """Gram matrix of Gatys et al.: inner products of the vectorised feature maps, N x M."""
    vectors = features.flatten(2)[0]
    return vectors @ vectors.T


def gatys2016(case: Case, photo: Tensor, painting: Tensor, picture: Tensor) -> Terms:
    alpha, beta = 1.0, 5 * case.cfg.loss.style_weight
    f, p, a = (seen(case.vgg, x, F.avg_pool2d) for x in (picture, photo, painting))
    content = ((f[RELUS["relu4_2"]] - p[RELUS["relu4_2"]]) ** 2).sum() / 2  # Eq. 1
    terms = {"content/relu4_2": alpha * content}
    for name in (f"relu{layer}" for layer in FIRST_OF_STAGES):
        found, wanted = f[RELUS[name]], a[RELUS[name]]
        n, m = found.shape[1], found.shape[2] * found.shape[3]
        error = ((matrix(found) - matrix(wanted)) ** 2).sum() / (4 * n**2 * m**2)  # Eq. 4
        terms[f"style/{name}"] = beta * error / 5  # Eq. 5
    return terms


def pytorch_tutorial(case: Case, photo: Tensor, painting: Tensor, picture: Tensor) -> Terms:
    """The first edition: weights multiply features and Gram matrices before the squares."""
    content_weight, style_weight = 1, 1000

    def gram_matrix(features: Tensor) -> Tensor:
        a, b, c, d = features.shape
        vectors = features.reshape(a * b, c * d)
        return (vectors @ vectors.T) / (a * b * c * d)

    names, i = [], 0
    for module in case.vgg:
        i += isinstance(module, nn.Conv2d)
        kind = "conv" if isinstance(module, nn.Conv2d) else "relu" if isinstance(module, nn.ReLU) else "pool"
        names.append(f"{kind}_{i}")
    x, photos, paintings = (
        dict(zip(names, seen(case.vgg, given, F.max_pool2d), strict=False)) for given in (picture, photo, painting)
    )
    ours = {"conv_1": "conv1_1", "conv_2": "conv1_2", "conv_3": "conv2_1", "conv_4": "conv2_2", "conv_5": "conv3_1"}
    terms = {"content/conv2_2": F.mse_loss(x["conv_4"] * content_weight, photos["conv_4"] * content_weight)}
    for name in ("conv_1", "conv_2", "conv_3", "conv_4", "conv_5"):
        found, target = gram_matrix(x[name]) * style_weight, gram_matrix(paintings[name]) * style_weight
        terms[f"style/{ours[name]}"] = F.mse_loss(found, target)
    return terms


def adam_noise(case: Case, photo: Tensor, painting: Tensor, picture: Tensor) -> Terms:
    alpha, beta = 10, 40
    # For pixels in 0..255.
    f, p, a = ([58 * x for x in seen(case.vgg, given, F.max_pool2d)] for given in (picture, photo, painting))
    found, wanted = f[CONVS["conv4_2"]], p[CONVS["conv4_2"]]
    _, n_c, n_h, n_w = found.shape
    terms = {"content/conv4_2": alpha * ((found - wanted) ** 2).sum() / (4 * n_h * n_w * n_c)}
    for name in (f"conv{layer}" for layer in FIRST_OF_STAGES):
        found, wanted = f[CONVS[name]], a[CONVS[name]]
        _, n_c, n_h, n_w = found.shape
        error = ((matrix(found) - matrix(wanted)) ** 2).sum() / (4 * n_c**2 * (n_h * n_w) ** 2)
        terms[f"style/{name}"] = beta * error / 5
    return terms


def relative(case: Case, photo: Tensor, painting: Tensor, picture: Tensor) -> Terms:
    weights = case.cfg.loss
    f, p, a = (seen(case.vgg, x, F.max_pool2d) for x in (picture, photo, painting))
    found, wanted = f[RELUS["relu4_2"]], p[RELUS["relu4_2"]]
    terms = {"content/relu4_2": weights.content_weight * ((found - wanted) ** 2).sum() / (wanted**2).sum()}
    for name in (f"relu{layer}" for layer in FIRST_OF_STAGES):
        found, wanted = matrix(f[RELUS[name]]), matrix(a[RELUS[name]])
        terms[f"style/{name}"] = weights.style_weight * ((found - wanted) ** 2).sum() / (wanted**2).sum()
    stray = picture.double() - picture.double().clamp(0, 1)
    terms["range"] = weights.range_weight * (stray**2).mean()
    return terms


SOURCES = {
    "default": (relative, 1e-4),
    "lbfgs": (relative, 1e-4),
    "gatys2016": (gatys2016, 1e-4),
    "pytorch_tutorial": (pytorch_tutorial, 1e-4),
    "adam_noise": (adam_noise, 0.02),  # The recipe's weights are rounded.
}


@pytest.mark.parametrize("case", SOURCES, indirect=True)
def test_the_loss_and_each_of_its_terms_are_the_sources(case: Case) -> None:
    source, tolerance = SOURCES[case.name]
    photo, painting = torch.rand(1, 3, *SIZE), torch.rand(1, 3, *SIZE) ** 3
    picture = torch.rand(1, 3, *SIZE).lerp(photo, 0.5) * 1.4 - 0.2  # Values below 0 and above 1.
    loss = case.method.loss_at(SIZE, case.method.targets(photo, [Style(painting)]))
    with torch.no_grad():
        weighted = loss.weigh(loss(picture))
    expected = source(case, photo, painting, picture)
    assert weighted.keys() == expected.keys()
    for name, term in weighted.items():
        assert expected[name] > 0
        assert term.item() == pytest.approx(expected[name].item(), rel=tolerance), name
    assert sum(weighted.values()).item() == pytest.approx(sum(expected.values()).item(), rel=tolerance)


# ---- optimisation


@dataclass(frozen=True)
class Way:
    optimizer: type
    steps: int
    start: float  # Share of noise.
    clamp: bool
    sizes: int  # From 512 pixels on.
    average: bool
    pool: type


WAYS = {
    "default": Way(torch.optim.Adam, 200, 0.0, True, 5, True, nn.MaxPool2d),
    "lbfgs": Way(torch.optim.LBFGS, 50, 0.0, False, 5, False, nn.MaxPool2d),
    "gatys2016": Way(torch.optim.LBFGS, 500, 1.0, False, 1, False, nn.AvgPool2d),
    "pytorch_tutorial": Way(torch.optim.LBFGS, 300, 0.0, True, 1, False, nn.MaxPool2d),
    "adam_noise": Way(torch.optim.Adam, 200, 0.6, True, 1, False, nn.MaxPool2d),
}


@pytest.fixture
def tiny(tiny_loss_network: LossNetwork) -> Callable[..., PictureOptimization]:
    """Return a recipe with two layers of the tiny network."""

    def make(recipe: str, *overrides: str) -> PictureOptimization:
        layers = ["loss.content_layers=[conv2]", "loss.style_layers=[relu1]", "method.precision=32-true"]
        return method_of(composed(recipe, *layers, *overrides), tiny_loss_network)

    return make


@pytest.mark.parametrize("recipe", WAYS)
def test_a_recipe_goes_its_sources_way(tiny: Callable[..., PictureOptimization], recipe: str) -> None:
    method, way = tiny(recipe), WAYS[recipe]
    assert type(method.optimizer([torch.zeros(1, requires_grad=True)])) is way.optimizer
    assert (method.steps, method.noise_ratio, method.clamp) == (way.steps, way.start, way.clamp)
    assert len(method.sizes((512, 640))) == way.sizes
    assert (method.smallest is None) == (way.sizes == 1)
    assert (method.average_decay > 0) == way.average


@pytest.mark.parametrize("case", WAYS, indirect=True)
def test_a_recipe_pools_as_its_source(case: Case) -> None:
    pools = {type(layer) for name, layer in case.method.loss_network.layers.items() if name.startswith("pool")}
    assert all(issubclass(pool, WAYS[case.name].pool) for pool in pools)
    if case.name not in ("default", "lbfgs"):
        assert composed(case.name).loss_network.architecture == "vgg19"


def settings(method: PictureOptimization) -> dict:
    return method.optimizer([torch.zeros(1, requires_grad=True)]).defaults


def test_the_tutorial_takes_lbfgs_as_torch_has_it(tiny: Callable[..., PictureOptimization]) -> None:
    assert settings(tiny("pytorch_tutorial")) == torch.optim.LBFGS([torch.zeros(1)]).defaults


@pytest.mark.parametrize("recipe", ["lbfgs", "gatys2016"])
def test_lbfgs_does_not_stop_before_it_is_told(tiny: Callable[..., PictureOptimization], recipe: str) -> None:
    method = tiny(recipe)
    found, wanted = settings(method), max(method.steps, method.first_steps)
    assert found["max_iter"] >= wanted
    assert found["max_eval"] >= wanted
    assert found["tolerance_grad"] == found["tolerance_change"] == 0
    assert found["lr"] == 1


def test_the_notebooks_adam_steps_by_2_of_255(tiny: Callable[..., PictureOptimization]) -> None:
    found = settings(tiny("adam_noise"))
    assert found["lr"] == pytest.approx(2 / 255, rel=0.01)
    assert (tuple(found["betas"]), found["weight_decay"], found["amsgrad"]) == ((0.9, 0.999), 0, False)


def test_the_notebooks_look_every_20_steps() -> None:
    assert composed("adam_noise").save_every == 20
    assert composed("adam_noise").size == 300


def started(method: PictureOptimization, photo: Tensor, **run: int) -> Tensor:
    """Return the image at the first evaluation."""
    first: list[Tensor] = []

    def look(iterate: Iterate) -> None:
        first.append(iterate.picture())

    method.run(photo, [Style(torch.rand(1, 3, 20, 20))], callback=look, stop=lambda: True, **run)
    (picture,) = first
    return picture


def is_noise(pixels: Tensor, photo: Tensor, amplitude: float) -> bool:
    """Check for uniform noise around mid-grey without any trace of the photo."""
    centred = (pixels - 0.5).flatten()
    frechet_distance = torch.corrcoef(torch.stack([centred, photo.flatten()]))[0, 1].abs()
    return bool(
        centred.abs().max() <= amplitude * 1.0001
        and centred.abs().max() > amplitude * 0.98
        and abs(centred.std() / (amplitude / 3**0.5) - 1) < 0.05
        and abs(centred.mean()) < 0.05 * amplitude
        and frechet_distance < 0.05
    )


def test_gatys_starts_from_white_noise_over_the_whole_range(tiny: Callable[..., PictureOptimization]) -> None:
    photo = torch.rand(1, 3, *SIZE)
    start = started(tiny("gatys2016"), photo)
    assert is_noise(start, photo, 0.5)
    assert torch.equal(start, started(tiny("gatys2016"), photo.flip(2)))
    assert not torch.equal(start, started(tiny("gatys2016"), photo, seed=1))


@pytest.mark.parametrize("recipe", ["pytorch_tutorial", "default", "lbfgs"])
def test_the_start_is_the_photo(tiny: Callable[..., PictureOptimization], recipe: str) -> None:
    photo = torch.rand(1, 3, *SIZE)
    torch.testing.assert_close(started(tiny(recipe), photo), photo)


def test_the_notebooks_start_is_the_photo_under_noise(tiny: Callable[..., PictureOptimization]) -> None:
    photo = torch.rand(1, 3, *SIZE)
    noise = (started(tiny("adam_noise"), photo) - (1 - 0.6) * photo) / 0.6
    assert is_noise(noise, photo, 0.078)
    assert tiny("adam_noise").noise_amplitude == pytest.approx(20 / 255, rel=0.01)


# Less than one step of torch's L-BFGS (20 evaluations), and several steps.
@pytest.mark.parametrize("steps", [19, 57])
@pytest.mark.parametrize("recipe", WAYS)
def test_exactly_so_many_evaluations_are_made(
    tiny: Callable[..., PictureOptimization], tiny_loss_network: LossNetwork, recipe: str, steps: int
) -> None:
    method = tiny(recipe, f"method.steps={steps}", "method.first_steps=null")
    looked_at: list[Tensor] = []
    tiny_loss_network.register_forward_pre_hook(lambda _, args: looked_at.append(args[0].clone()))
    iterates: list[Iterate] = []
    method.run(torch.rand(1, 3, *SIZE), [Style(torch.rand(1, 3, *SIZE) ** 3)], callback=iterates.append)
    assert [iterate.step for iterate in iterates] == list(range(1, steps + 1))
    assert {iterate.steps for iterate in iterates} == {steps}
    evaluated = [picture for picture in looked_at if picture.requires_grad]  # The other calls compute the targets.
    assert len(evaluated) == steps
    if WAYS[recipe].clamp:
        assert all(picture.min() >= 0 and picture.max() <= 1 for picture in evaluated)
