"""Task: distil a small loss network from a large one."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from fast_style.data.datamodule import InfiniteDataModule
from fast_style.methods.distillation.method import DistillationMethod
from fast_style.networks.student import save_student
from fast_style.training.checkpoint_io import read_checkpoint
from fast_style.training.config_checks import check_settings
from fast_style.training.effective_batch import EffectiveBatch
from fast_style.training.tasks.task import Task, for_batch, photos, recipe_of
from fast_style.version import __version__


class DistillationTask(Task):
    """Distil a small loss network from a large one (`conf/distill.yaml`).

    Raises:
        ValueError: an invalid setting, or a folder without images.
    """

    chosen_by, unused = "scripts/distill.py", ("style", "generator", "discriminator")
    named_by = ("name",)

    def __init__(self, cfg: DictConfig) -> None:
        self.cfg = cfg
        self.name = self.run_name(cfg)
        self.network_files: Sequence[Path] = [Path(cfg.network_file or f"checkpoints/students/{self.name}.safetensors")]
        check_settings(cfg, self.network_files[0])
        self.data: InfiniteDataModule = photos(self.cfg)
        self.watchers: list[pl.Callback] = []
        self.per_process_state = "hard examples" if OmegaConf.select(cfg, "method.hard_examples") else ""

    @staticmethod
    def run_name(cfg: DictConfig) -> str:
        """The setting `name`."""
        return str(cfg.name)

    def method(self, batch: EffectiveBatch) -> DistillationMethod:
        """Build the student with its teacher and loss."""
        cfg = for_batch(self.cfg, batch)
        student = instantiate(cfg.student, _convert_="all")
        loss = instantiate(cfg.loss, _convert_="all")(
            teacher=instantiate(cfg.loss_network, _convert_="all"), student=student, examples=_examples(self.data)
        )
        recipe = recipe_of(self.cfg, batch, ("init_from", "student", "loss", "loss_network", "method", "data"))
        method = instantiate(cfg.method, _convert_="all")(
            student=student, loss=loss, origin={"recipe": recipe, "version": __version__}
        )
        assert isinstance(method, DistillationMethod)
        if cfg.init_from and not cfg.resume:
            load_init_state(cfg.init_from, method)
        return method.to(memory_format=torch.channels_last)

    def compiled(self, method: DistillationMethod) -> Sequence[nn.Module]:
        """Teacher, student and loss, as one graph."""
        return (method.student_and_loss,)

    def save(self, method: DistillationMethod) -> None:
        """Write the averaged student."""
        heads = {name: head.weight.flatten(1) for name, head in method.heads.items()}
        save_student(
            self.network_files[0],
            method.network,
            heads=heads,
            # The teacher's magnitudes, so that the same loss weights suit both networks.
            scales=method.student_and_loss.loss.scales,
            origin=method.origin,
            precision=self.cfg.save_as,
        )


def load_init_state(checkpoint: str, method: pl.LightningModule) -> None:
    """Load only the weights of another run's checkpoint into a method.

    Raises:
        ValueError: not a checkpoint, or one of other networks.
    """
    state = _trainable_state(read_checkpoint(Path(checkpoint)).get("state_dict", {}))
    fitting = _trainable_state(method.state_dict())
    strange = [name for name in fitting.keys() | state.keys() if _shape(fitting, name) != _shape(state, name)]
    if strange:
        raise ValueError(
            f"init_from={checkpoint} holds other networks than this run's ({len(strange)} weights differ, such as "
            f"{min(strange)}); use the settings of the run that saved it."
        )
    method.load_state_dict(state, strict=False)


def _trainable_state(state: Mapping[str, Any]) -> dict[str, Any]:
    # The hard examples belong to the images, the size and the count of their own run.
    return {name: value for name, value in state.items() if not name.startswith("hard_examples.")}


def _shape(state: Mapping[str, Any], name: str) -> tuple[int, ...] | None:
    return tuple(state[name].shape) if name in state else None


def _examples(data: InfiniteDataModule) -> Tensor:
    """The validation images, `(N, 3, H, W)` in 0 to 1."""
    pixels = [data.validation[index, index].pixels for index in range(len(data.validation))]
    return torch.stack(pixels).float() / 255
