"""The distillation loss, compared with plain formulas in float64."""

import pytest
import torch

from fast_style.methods.distillation.loss import DistillationLoss, batch_error
from fast_style.networks.loss_network import LossNetwork
from fast_style.networks.student import Student

LAYERS = ["relu1_1", "relu2_1"]


@pytest.fixture
def teacher() -> LossNetwork:
    torch.manual_seed(1)
    return LossNetwork(
        {
            "conv1_1": torch.nn.Conv2d(3, 6, 3, padding=1),
            "relu1_1": torch.nn.ReLU(),
            "pool1": torch.nn.MaxPool2d(2),
            "conv2_1": torch.nn.Conv2d(6, 8, 3, padding=1),
            "relu2_1": torch.nn.ReLU(),
        }.items()
    )


@pytest.fixture
def pictures() -> torch.Tensor:
    return torch.rand(3, 3, 24, 16, generator=torch.Generator().manual_seed(2))


def make(teacher: LossNetwork, student: Student, examples: torch.Tensor, **options) -> DistillationLoss:
    return DistillationLoss(teacher=teacher, student=student, examples=examples, **({"layers": LAYERS} | options))


def test_terms_are_the_formulas(teacher: LossNetwork, pictures: torch.Tensor) -> None:
    student = Student(stages=[[6], [5]])  # The first layer is as wide as the teacher's, the second is narrower.
    loss = make(teacher, student, pictures)
    assert set(loss.heads) == {"relu2_1"}
    terms = loss(student, pictures)
    scales = {name: f.double().square().mean().sqrt() for name, f in teacher(pictures, LAYERS).items()}
    found, wanted = student(pictures, LAYERS), teacher(pictures, LAYERS)
    found["relu2_1"] = loss.heads["relu2_1"](found["relu2_1"])
    for name in LAYERS:
        f, t = found[name].double(), wanted[name].double() / scales[name]
        assert terms[f"feature/{name}"].item() == pytest.approx((((f - t) ** 2).sum() / (t**2).sum()).item(), rel=1e-5)
        g, h = (torch.einsum("nchw,ndhw->ncd", x, x) / x[0].numel() for x in (f, t))
        assert terms[f"gram/{name}"].item() == pytest.approx((((g - h) ** 2).sum() / (h**2).sum()).item(), rel=1e-5)


def test_the_teacher_itself_has_no_error(teacher: LossNetwork, pictures: torch.Tensor) -> None:
    student = Student(stages=[[6]])
    loss = make(teacher, student, pictures, layers=["relu1_1"])
    with torch.no_grad():
        conv, wanted = student.layers["conv1_1"], teacher.layers["conv1_1"]
        conv.padding_mode = "zeros"
        student.mean.zero_()
        conv.weight.copy_(wanted.weight * student.std / loss.scales["relu1_1"])
        conv.bias.copy_(wanted.bias / loss.scales["relu1_1"])
    assert all(term < 1e-10 for term in loss(student, pictures).values())


def test_a_flat_picture_weighs_little(teacher: LossNetwork, pictures: torch.Tensor) -> None:
    faint, strong = 1e-4 * torch.rand(1, 8), torch.rand(3, 8)
    assert batch_error(torch.cat([2 * faint, strong]), torch.cat([faint, strong])) < 1e-6


def test_weights_choose_and_weigh_the_terms(teacher: LossNetwork, pictures: torch.Tensor) -> None:
    student = Student(stages=[[6], [5]])
    chosen = {"layers": {"relu1_1": 2.0, "relu2_1": 1.0}, "gram_weight": 0.0, "feature_weight": 3.0}
    loss = make(teacher, student, pictures, **chosen)
    assert loss.weights == {"feature/relu1_1": 6.0, "feature/relu2_1": 3.0}
    terms = loss(student, pictures)
    assert set(terms) == set(loss.weights)
    assert loss.weigh(terms)["feature/relu1_1"] == 6 * terms["feature/relu1_1"]


def test_only_student_and_heads_learn(teacher: LossNetwork, pictures: torch.Tensor) -> None:
    student = Student(stages=[[4], [5]])
    loss = make(teacher, student, pictures)
    assert {name.split(".")[0] for name, _ in loss.named_parameters()} == {"heads"}
    assert not any(name.startswith("teacher") for name in loss.state_dict())
    torch.stack(list(loss(student, pictures).values())).sum().backward()
    assert all(p.grad is not None for p in [*student.parameters(), *loss.parameters()])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"layers": []}, "layers"),
        ({"layers": ["relu7_1"]}, "relu7_1"),
        ({"feature_weight": 0.0, "gram_weight": 0.0}, "weight above 0"),
    ],
)
def test_what_cannot_be_learnt_is_refused(teacher, pictures, options, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        make(teacher, Student(stages=[[4], [5]]), pictures, **options)
