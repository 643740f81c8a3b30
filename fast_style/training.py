"""From a configuration to a trained network: builds each object once, fits, saves."""

import itertools
import json
import logging
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import LearningRateMonitor, ModelCheckpoint
from pytorch_lightning.loggers import TensorBoardLogger

from fast_style import __version__
from fast_style.data.content import ContentPhotos
from fast_style.devices import best_precision
from fast_style.methods.checkpoints import RandomState, StopAndSave, WholeFiles
from fast_style.methods.perceptual import PerceptualMethod
from fast_style.methods.watching import Panels, StepProgress, Throughput
from fast_style.networks.saved import Precision, save_network
from fast_style.resuming import CONFIG_FILE, OVERRIDES_FILE, PATH_KEYS, find_resumable, settled
from fast_style.styles import load_style, style_name

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What a finished run leaves.

    Attributes:
        network_file: the slim file of the averaged generator.
        folder: checkpoints and TensorBoard curves.
        metrics: last training and validation losses by name.
        unreadable: photos that could not be read.
    """

    network_file: Path
    folder: Path
    metrics: dict[str, float]
    unreadable: tuple[str, ...]


def run(cfg: DictConfig, overrides: Sequence[str] = ()) -> Outcome:
    """Train one style.

    Args:
        cfg: composed from `conf/train.yaml`.
        overrides: what was said on the command line; a resumed run takes its own saved configuration instead of
            `cfg`, with those of `resuming.MAY_CHANGE` on top.

    Raises:
        ValueError: a setting, picture or file that does not do; the sentence says which.
        Interrupted: somebody stopped the run, which saved itself.
    """
    checkpoint = None
    if cfg.resume:
        found = find_resumable(cfg, overrides)
        if found:
            checkpoint, cfg = found
            log.info("Going on from %s.", checkpoint)
        else:
            log.info("No run to resume below %s; starting a new one.", cfg.runs)
    several = OmegaConf.select(cfg, "style.images") or {}
    if len(several) > 1:
        raise ValueError(f"A network learns one style; got {', '.join(several)}: train them one by one.")
    if cfg.style.image is None:
        raise ValueError("No style was named: give style.image=my.jpg, or style=NAME of conf/style/.")
    name = style_name(cfg.style.image, cfg.style.name)
    network_file = Path(cfg.network_file or f"checkpoints/{name}.safetensors")
    _check(cfg, network_file)
    _quiet()
    pl.seed_everything(cfg.seed, verbose=False)
    method, data, style = _build(cfg, name)
    folder = checkpoint.parents[1] if checkpoint else _new_folder(Path(cfg.runs) / name, cfg, overrides)
    trainer = _trainer(cfg, folder, style)
    if cfg.compile:
        method.generator.compile()
        method.loss.compile()
    trainer.fit(method, data, ckpt_path=checkpoint, weights_only=True)
    trainer.save_checkpoint(folder / "checkpoints" / f"step-{trainer.global_step:06d}.ckpt", weights_only=False)
    metrics = {k: float(v) for k, v in trainer.callback_metrics.items()}
    if cfg.steps % cfg.val_every or not any(name.startswith("val/") for name in metrics):
        metrics |= trainer.validate(method, data, verbose=False, weights_only=True)[0]
    if trainer.is_global_zero:
        save_network(network_file, method.network, origin=method.origin, precision=cfg.save_as)
    return Outcome(network_file, folder, metrics, tuple(data.unreadable))


def _build(cfg: DictConfig, name: str) -> tuple[PerceptualMethod, ContentPhotos, torch.Tensor]:
    style = load_style(cfg.style.image, size=_plain(cfg.style.size), crops=cfg.style.crops)
    data = instantiate(cfg.data, _convert_="all")
    data.setup()  # Before the networks: what is wrong with a folder is said at once.
    loss = instantiate(cfg.loss, _convert_="all")(
        loss_network=instantiate(cfg.loss_network, _convert_="all"), style=style
    )
    method = instantiate(cfg.method, _convert_="all")(
        generator=instantiate(cfg.generator, _convert_="all"),
        loss=loss,
        origin={"style": name, "recipe": _recipe(cfg), "version": __version__},
    )
    return method.to(memory_format=torch.channels_last), data, style[0]


def _trainer(cfg: DictConfig, folder: Path, style: torch.Tensor) -> pl.Trainer:
    checkpoints = folder / "checkpoints"
    trainer = instantiate(cfg.trainer, _convert_="all")(
        max_steps=cfg.steps,
        precision=best_precision() if cfg.precision == "auto" else cfg.precision,
        val_check_interval=min(cfg.val_every, cfg.steps),
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        # The data's own order already parts the photos among the processes.
        use_distributed_sampler=False,
        logger=TensorBoardLogger(folder, name="", version=""),
        plugins=[WholeFiles()],
        callbacks=[
            StepProgress(),
            Throughput(cfg.trainer.log_every_n_steps),
            LearningRateMonitor("step"),
            Panels(style),
            RandomState(),
            StopAndSave(checkpoints),
            ModelCheckpoint(
                checkpoints,
                filename="step-{step:06d}",
                auto_insert_metric_name=False,
                every_n_train_steps=cfg.checkpoint_every,
                # The two newest: the older one is there while the newer is written.
                monitor="step",
                mode="max",
                save_top_k=2,
            ),
        ],
        enable_model_summary=False,
    )
    assert isinstance(trainer, pl.Trainer)
    if trainer.is_global_zero:
        text = f"```yaml\n{OmegaConf.to_yaml(settled(cfg))}\n```"
        trainer.logger.experiment.add_text("config", text)  # type: ignore[union-attr]
    return trainer


def _check(cfg: DictConfig, network_file: Path) -> None:
    """What would otherwise be found out after hours."""
    for key in ("steps", "val_every", "checkpoint_every"):
        if cfg[key] < 1:
            raise ValueError(f"{key} is at least 1; got {cfg[key]}.")
    if cfg.save_as not in get_args(Precision):
        raise ValueError(f"save_as is one of {get_args(Precision)}; got {cfg.save_as!r}.")
    if network_file.suffix != ".safetensors":
        raise ValueError(f"network_file ends in .safetensors; got {network_file}.")
    for key in PATH_KEYS:
        path = OmegaConf.select(cfg, key)
        if key != "material" and path and Path(path).is_relative_to(cfg.material) and not os.path.exists(path):
            raise ValueError(
                f"{key} is wanted at {path}, where there is nothing: put training material there (data/README.md "
                f"says what), name its folder with material=..., or set {key}."
            )
    network_file.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(network_file.parent, os.W_OK):
        raise ValueError(f"The folder {network_file.parent} can't be written to; set network_file to another.")


def _new_folder(parent: Path, cfg: DictConfig, overrides: Sequence[str]) -> Path:
    """A folder of its own for a run, with what it was told."""
    started = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    for copy in itertools.count(1):
        folder = parent / (started if copy == 1 else f"{started}_{copy}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        break
    (folder / CONFIG_FILE).write_text(OmegaConf.to_yaml(settled(cfg)))
    (folder / OVERRIDES_FILE).write_text(json.dumps(list(overrides)))
    return folder


def _recipe(cfg: DictConfig) -> str:
    """What made the network, as JSON, without the folders of the machine that made it."""
    parts = ("steps", "seed", "precision", "style", "generator", "loss", "loss_network", "method", "data")
    recipe = {
        part: OmegaConf.to_container(cfg[part], resolve=True) if OmegaConf.is_config(cfg[part]) else cfg[part]
        for part in parts
    }
    return json.dumps(_without_folders(recipe))


def _without_folders(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_folders(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_folders(item) for item in value]
    return os.path.basename(value.rstrip("/")) if isinstance(value, str) else value


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


def _quiet() -> None:
    """Silence what Lightning says of things that are meant to be so."""
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",  # As many as data.workers says.
        ".*Checkpoint directory .* exists.*",  # A resumed run goes on in its folder.
        ".*in eval mode at the start of training.*",  # The loss network, always.
        r".*treespec, LeafSpec.*",  # Lightning's own use of a torch function that is renamed.
        ".*GPU available but not used.*",
        ".*callbacks used to create the checkpoint.*",  # A resumed run may save at other steps.
    ):
        warnings.filterwarnings("ignore", message=message)
