"""The loss gets stylized images and photos shifted by the same random number of pixels."""

import pytest
import pytorch_lightning as pl
import torch

from fast_style.methods.perceptual import PerceptualMethod
from fast_style.networks.transform_net import TransformNet

SIDE, LARGEST = 24, 3


class Painter(TransformNet):
    """Returns the photo, so that stylized image and photo must stay equal."""

    def forward(self, photos):
        return photos + 0 * super().forward(photos)


class Loss(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, painted, photos):
        self.seen.append((painted.detach(), photos))
        return {"content": painted.mean()}

    def weigh(self, terms):
        return dict(terms)


@pytest.fixture
def seen_by_the_loss(monkeypatch):
    monkeypatch.setattr(PerceptualMethod, "_log_train", lambda self, named, batch_idx: None)

    def run(photos, *, loss_shift, step, part="training"):
        monkeypatch.setattr(PerceptualMethod, "global_step", step)
        loss = Loss()
        method = PerceptualMethod(
            generator=Painter(width=2, blocks=0), loss=loss, optimizer=torch.optim.SGD, loss_shift=loss_shift
        )
        method.trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
        getattr(method, f"{part}_step")(photos, 0)
        return loss.seen[0]

    return run


def coordinates():
    """Two photos whose first two channels are the row and the column of each pixel."""
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    return torch.stack([rows, columns, rows]).float().expand(2, -1, -1, -1).contiguous()


def shift_of(picture):
    """Rows and columns by which the middle has moved."""
    middle = SIDE // 2
    return tuple(int(middle - picture[0, channel, middle, middle].item()) for channel in (0, 1))


def test_both_move_by_the_same_pixels_up_to_the_largest_shift(seen_by_the_loss):
    found = []
    for step in range(60):
        painted, photos = seen_by_the_loss(coordinates(), loss_shift=LARGEST, step=step)
        assert torch.equal(painted, photos)
        assert painted.shape == (2, 3, SIDE, SIDE)
        assert torch.equal(photos[0], photos[1])
        found.append(shift_of(photos))
    for axis in (0, 1):
        assert {shift[axis] for shift in found} == set(range(-LARGEST, LARGEST + 1))
    assert len(set(found)) > 30, "both axes move independently"


def test_a_step_has_its_shift(seen_by_the_loss):
    once, again = (seen_by_the_loss(coordinates(), loss_shift=8, step=5)[1] for _ in range(2))
    assert torch.equal(once, again)


def test_none_shifts_nothing(seen_by_the_loss):
    assert torch.equal(seen_by_the_loss(coordinates(), loss_shift=0, step=5)[1], coordinates())


def test_validation_shifts_nothing(seen_by_the_loss):
    for step in range(5):
        painted, photos = seen_by_the_loss(coordinates(), loss_shift=LARGEST, step=step, part="validation")
        assert torch.equal(photos, coordinates())
        assert torch.equal(painted, coordinates())


def test_less_than_none_is_refused():
    with pytest.raises(ValueError, match=r"method.loss_shift \(in pixels\) must be 0 or more; got -1"):
        PerceptualMethod(
            generator=TransformNet(width=2, blocks=0), loss=torch.nn.Module(), optimizer=torch.optim.SGD, loss_shift=-1
        )


def test_a_shift_as_large_as_the_photo_is_refused(seen_by_the_loss):
    with pytest.raises(ValueError, match=r"below the side of the crop \(24 pixels\); got 24"):
        seen_by_the_loss(coordinates(), loss_shift=SIDE, step=0)
