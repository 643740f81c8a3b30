"""Hard examples: images that fool a student, found during its training and added to its batches."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from fast_style.losses.functional import gram, relative_error


class HardExamples(nn.Module):
    """Replace a part of each batch by images optimised to minimise the student's own style loss.

    A generator trained on a student ends where the student's style error is small. Such images look like no photo and
    no painting, and there the teacher's error can be large. So this module moves images to that region, as Gatys et
    al. (2016) optimise an image: each image moves towards the Gram matrices of another image. The student then learns
    the teacher's features on the moved images.

    This is adversarial training (Goodfellow et al. 2015) with many steps per image. As in persistent contrastive
    divergence (Tieleman 2008), each image and its target form a chain that continues over the training steps. One move
    of a chain costs less than half a forward and backward pass of the student.

    The chains are buffers, so a resumed run continues them. Each rank has its own chains, but the checkpoint keeps only
    the chains of rank 0.

    Args:
        count: number of chains.
        size: height and width of the batch images in pixels.
        share: part of each batch, between 0 and 1, that chain images replace. They replace the end of the batch. The
            number of images is rounded down and is at most `count`.
        max_steps: moves of the longest chain before it restarts from a batch image. The limits of the chains are spread
            evenly from 1 to this number, so the student sees images at every distance.
        step_size: size of one move: root mean square of the change of an image (images are in 0 to 1).
        layers: layers with the Gram matrices that a chain follows.
    """

    pictures: Tensor
    styles: Tensor
    ages: Tensor
    max_ages: Tensor
    next: Tensor

    def __init__(
        self,
        *,
        count: int,
        size: int,
        share: float,
        max_steps: int,
        step_size: float,
        layers: Sequence[str],
    ) -> None:
        super().__init__()
        if not (0 < share < 1 and count > 0 and max_steps > 0):
            raise ValueError(
                "HardExamples needs a share between 0 and 1, count of at least 1 and max_steps of at least 1; got "
                f"share={share}, count={count}, max_steps={max_steps}."
            )
        self.share, self.step_size, self.layers = share, step_size, tuple(layers)
        self.register_buffer("pictures", torch.zeros(count, 3, size, size))
        self.register_buffer("styles", torch.zeros(count, 3, size, size))
        # A chain restarts once its age reaches its limit. At first all chains restart.
        self.register_buffer("ages", torch.full((count,), max_steps))
        self.register_buffer("max_ages", torch.linspace(1, max_steps, count).round().long())
        self.register_buffer("next", torch.tensor(0))

    @torch.no_grad()
    def forward(self, features_of: Callable[[Tensor, Sequence[str]], Mapping[str, Tensor]], batch: Tensor) -> Tensor:
        """Return the batch with hard examples in place of its last images.

        Args:
            features_of: takes images and layer names; returns the student's features by name. Gram matrices of these
                features must be comparable.
            batch: images `(N, 3, H, W)` in 0..1. A chain that restarts takes an image from the end of the batch. Its
                style is the image before that one.
        """
        moved = min(int(len(batch) * self.share), len(self.ages))
        if not moved:
            return batch
        chains = (self.next + torch.arange(moved, device=batch.device)) % len(self.ages)
        # The training skips a batch that is not finite, so the batch must not enter the chains.
        again = (self.ages[chains] >= self.max_ages[chains]) & batch.isfinite().all()
        where = again[:, None, None, None]
        pictures = torch.where(where, batch[-moved:], self.pictures[chains])
        styles = torch.where(where, batch.roll(1, 0)[-moved:], self.styles[chains])
        pictures = self._moved(features_of, pictures, styles)
        self.pictures[chains], self.styles[chains] = pictures, styles
        self.ages[chains] = torch.where(again, 0, self.ages[chains]) + 1
        self.next.copy_((self.next + moved) % len(self.ages))
        return torch.cat([batch[:-moved], pictures])

    def _moved(
        self, features_of: Callable[[Tensor, Sequence[str]], Mapping[str, Tensor]], pictures: Tensor, styles: Tensor
    ) -> Tensor:
        wanted = {name: gram(features) for name, features in features_of(styles, self.layers).items()}
        with torch.enable_grad():
            pictures = pictures.clone().requires_grad_()
            found = features_of(pictures, self.layers)
            error = torch.stack([relative_error(gram(found[name]), wanted[name]).sum() for name in self.layers]).sum()
            (slope,) = torch.autograd.grad(error, pictures)
        rms = slope.square().mean((1, 2, 3), keepdim=True).sqrt().clamp_min(1e-20)
        return (pictures.detach() - self.step_size * (slope / rms).nan_to_num(0, 0, 0)).clamp(0, 1)
