"""Hard examples: chains that minimise the student's own style loss and replace a part of each batch."""

import pytest
import torch
from torch import nn

from fast_style.losses.functional import gram, relative_error
from fast_style.methods.distillation.hard_examples import HardExamples

LAYERS = ["a", "b"]


class TwoLayers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.a, self.b = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 8, 3)

    def forward(self, pictures, names):
        a = self.a(pictures).relu()
        features = {"a": a, "b": self.b(a).relu()}
        return {name: features[name] for name in names}


def hard_examples(**changes) -> HardExamples:
    settings = {"count": 3, "size": 16, "share": 0.4, "max_steps": 6, "step_size": 0.02, "layers": LAYERS}
    return HardExamples(**(settings | changes))


def batch(seed: int = 0) -> torch.Tensor:
    """Alternate noise and nearly flat images, so that neighbours differ strongly in style."""
    noise = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(seed))
    noise[::2] = 0.5 + 0.1 * noise[::2]
    return noise


def style_errors(student, pictures, styles):
    found, wanted = student(pictures, LAYERS), student(styles, LAYERS)
    return sum(relative_error(gram(found[name]), gram(wanted[name])) for name in LAYERS)


def test_only_the_last_share_of_a_batch_moves_and_by_the_step_size() -> None:
    pictures = batch()
    moved = hard_examples()(TwoLayers(), pictures)
    assert torch.equal(moved[:5], pictures[:5])
    changes = (moved - pictures)[5:].square().mean((1, 2, 3)).sqrt()
    assert (changes > 0.015).all()  # Clamping to 0..1 loses a little.
    assert (changes < 0.0201).all()
    assert moved.min() >= 0
    assert moved.max() <= 1


def test_a_chain_goes_down_the_students_error() -> None:
    student, moving = TwoLayers(), hard_examples(max_steps=40)
    moving.max_ages.fill_(40)
    start = batch()
    with torch.no_grad():
        before = style_errors(student, start[5:], start[4:7])
    for seed in range(20):
        after = moving(student, batch(seed))[5:]
    with torch.no_grad():
        assert (style_errors(student, after, start[4:7]) < 0.5 * before).all()


def test_no_gradient_of_the_student_is_left_behind() -> None:
    student = TwoLayers()
    moved = hard_examples()(student, batch())
    assert not moved.requires_grad
    assert all(parameter.grad is None for parameter in student.parameters())


def test_chains_start_again_after_their_max_ages_from_one_move_on() -> None:
    moving = hard_examples(max_steps=3)
    assert moving.max_ages.tolist() == [1, 2, 3]
    student, ages = TwoLayers(), []
    for seed in range(6):
        moved = moving(student, batch(seed))
        ages.append(moving.ages.tolist())
        fresh = [age == 1 for age in ages[-1]]
        near = ((moved - batch(seed))[5:].square().mean((1, 2, 3)).sqrt() < 0.0201).tolist()
        assert near == fresh
    assert ages == [[1, 1, 1], [1, 2, 2], [1, 1, 3], [1, 2, 1], [1, 1, 2], [1, 2, 3]]


def test_more_chains_than_a_batch_takes_have_their_turns() -> None:
    moving = hard_examples(count=7)
    for seed in range(7):
        moving(TwoLayers(), batch(seed))
    assert int(moving.next) == 0
    assert moving.ages.tolist() == [1, 1, 3, 3, 3, 3, 3]


def test_a_batch_that_is_not_finite_stays_in_no_chain() -> None:
    moving, student = hard_examples(), TwoLayers()
    spoilt = batch()
    spoilt[6, 0, 3, 3] = torch.nan
    moving(student, spoilt)
    assert moving.pictures.isfinite().all()
    assert moving.styles.isfinite().all()


def test_a_student_that_is_not_finite_moves_no_chain() -> None:
    moving, student = hard_examples(), TwoLayers()
    nn.init.constant_(student.a.weight, torch.nan)
    assert torch.equal(moving(student, batch()), batch())


@pytest.mark.parametrize("changes", [{"share": 1.5}, {"share": 0}, {"count": 0}, {"max_steps": 0}], ids=str)
def test_what_can_move_nothing_is_refused(changes: dict) -> None:
    with pytest.raises(ValueError, match="share between 0 and 1"):
        hard_examples(**changes)


def test_no_more_pictures_move_than_there_are_chains() -> None:
    pictures = batch()
    moved = hard_examples(count=2)(TwoLayers(), pictures)
    assert torch.equal(moved[:6], pictures[:6])
    assert not torch.equal(moved[6], pictures[6])
