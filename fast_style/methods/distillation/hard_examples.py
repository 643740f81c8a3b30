"""Pictures that fool a student, found while it learns, so that it is taught on them."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from fast_style.losses.functional import gram, relative_error


class HardExamples(nn.Module):
    """Pictures on their way down a student's own style error: hard examples, in place of a part of each batch.

    A generator trained on a student ends where the student's error is small, and there, off all photos and paintings,
    the teacher's need not be. So some pictures are moved there, as the optimisation of Gatys et al. (2016) moves one,
    each to the Gram matrices of another picture; what becomes of them on the way the student learns to see as the
    teacher does. As in adversarial training (Goodfellow et al. 2015), but with moves of many steps; and as in
    persistent contrastive divergence (Tieleman 2008) the chains go on from step to step of the student, for one move
    each, which costs less than half a forward and backward pass of the student.

    Everything is in buffers, so that a resumed run goes on with the chains that it had. Several processes have chains
    of their own, and of those only the first one's are kept.

    Args:
        count: chains.
        size: height and width of the batches' pictures.
        share: of each batch that gives way to pictures of chains, the last of it; rounded down, and never
            more than there are chains.
        max_steps: of the longest chain before it starts again from a picture of the batch; those of the others
            are spread evenly from 1 move on, so that the student sees pictures at every distance.
        step_size: of a step: root of the mean square of the change of a picture, in 0..1.
        layers: whose Gram matrices a chain follows.
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
                "HardExamples need a share between 0 and 1, and at least one chain of at least one step; got "
                f"share={share}, count={count}, max_steps={max_steps}."
            )
        self.share, self.step_size, self.layers = share, step_size, tuple(layers)
        self.register_buffer("pictures", torch.zeros(count, 3, size, size))
        self.register_buffer("styles", torch.zeros(count, 3, size, size))
        # Whoever has lived long enough starts again: at first all of them.
        self.register_buffer("ages", torch.full((count,), max_steps))
        self.register_buffer("max_ages", torch.linspace(1, max_steps, count).round().long())
        self.register_buffer("next", torch.tensor(0))

    @torch.no_grad()
    def forward(self, features_of: Callable[[Tensor, Sequence[str]], Mapping[str, Tensor]], batch: Tensor) -> Tensor:
        """The batch `(N, 3, H, W)` in 0..1 with hard examples in place of the last of it.

        Args:
            features_of: the student's features by name, of pictures and names, comparable by their Gram matrices.
            batch: pictures as they come. Chains that start again take theirs from its end, and their styles from
                the pictures before.
        """
        moved = min(int(len(batch) * self.share), len(self.ages))
        if not moved:
            return batch
        chains = (self.next + torch.arange(moved, device=batch.device)) % len(self.ages)
        # A batch that is not finite is skipped, and must not stay in the chains.
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
