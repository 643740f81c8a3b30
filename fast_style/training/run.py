"""Run a training: build every object of a configuration once, fit, and save the network files."""

import itertools
import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytorch_lightning as pl
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.profilers import PassThroughProfiler

from fast_style.data.datamodule import InfiniteDataModule
from fast_style.devices import best_precision
from fast_style.training.callbacks.checkpointing import (
    AtomicCheckpointIO,
    PeriodicCheckpoint,
    RNGStateCallback,
    SignalCheckpoint,
)
from fast_style.training.callbacks.eager_fallback import EagerFallback
from fast_style.training.callbacks.profiler import EarlyStepsProfiler, check_length
from fast_style.training.callbacks.progress import RunLogger, StepProgress, closed_bar
from fast_style.training.callbacks.skip_nonfinite import SkipNonFinite, require_finite
from fast_style.training.callbacks.throughput import Throughput
from fast_style.training.checkpoint_io import disk_error_hint, read_checkpoint
from fast_style.training.compile import compile_in_place, should_compile
from fast_style.training.config_checks import check_one_batch, check_replaced, check_used
from fast_style.training.distributed.process_group import (
    Processes,
    connected,
    resolve_auto_devices,
    silence_nonzero_ranks,
)
from fast_style.training.distributed.run_dir import agree_on_run_dir
from fast_style.training.effective_batch import BatchSizeCheck, EffectiveBatch, saved_batch, shared_batch
from fast_style.training.resume import (
    CONFIG_FILE,
    OVERRIDES_FILE,
    find_resumable,
    remember_steps,
    resolve_paths,
    task_of,
)
from fast_style.training.tasks.distillation import DistillationTask
from fast_style.training.tasks.style import StyleTask
from fast_style.training.tasks.task import Task
from fast_style.training.tasks.translation import TranslationTask

log = logging.getLogger(__name__)

#: Task classes by the value of `task` in a configuration.
TASKS: dict[str, type[Task]] = {
    "style": StyleTask,
    "translation": TranslationTask,
    "distillation": DistillationTask,
}

LIGHTNING_LOGGERS = ("pytorch_lightning.utilities.rank_zero", "lightning_fabric.utilities.distributed")
EXPECTED_WARNINGS = (
    ".*does not have many workers.*",  # data.workers sets the number.
    ".*Checkpoint directory .* exists.*",  # A resumed run writes to its old folder.
    ".*in eval mode at the start of training.*",  # The loss network is always in eval mode.
    r".*treespec, LeafSpec.*",  # Lightning calls a torch function that was renamed.
    ".*GPU available but not used.*",
    ".*callbacks used to create the checkpoint.*",  # A resumed run may change checkpoint_every.
    ".*`broadcast_buffers` is deprecated.*",  # Older versions of torch have no other name for it.
    ".*The .grad attribute of a Tensor that is not a leaf.*",  # torch.compile reads it.
    ".*It is recommended to use `self.log.*sync_dist=True.*",  # MeanTerms already synchronizes.
)


@dataclass(frozen=True)
class TrainingResult:
    """Results of a finished run.

    Attributes:
        network_files: the trained networks, without optimiser state.
        folder: the run's folder with checkpoints and TensorBoard curves.
        metrics: last training and validation losses by name.
        unreadable: image files that could not be read.
        first: whether this process is rank 0, which writes all files and reports.
    """

    network_files: tuple[Path, ...]
    folder: Path
    metrics: dict[str, float]
    unreadable: tuple[str, ...]
    first: bool = True

    @property
    def network_file(self) -> Path:
        """The only network file, or the first of several."""
        return self.network_files[0]


def run(
    cfg: DictConfig,
    overrides: Sequence[str] = (),
    *,
    callbacks: Sequence[pl.Callback] = (),
) -> TrainingResult:
    """Start a training, or resume one, and write the network files.

    Args:
        cfg: composed from `conf/train.yaml` or the root file of another task.
        overrides: overrides of the command line. A resumed run uses its saved configuration instead of `cfg`, plus
            the overrides that `resume.MAY_CHANGE` allows.
        callbacks: additional Lightning callbacks.

    Raises:
        ValueError: an invalid setting, image or file; the message names it.
        Interrupted: a signal stopped the run after it saved a checkpoint.
        ProcessLost: another process of the run died. The run can resume from its last checkpoint.
    """
    with quiet():
        return _run(cfg, overrides, callbacks)


def _run(cfg: DictConfig, overrides: Sequence[str], callbacks: Sequence[pl.Callback]) -> TrainingResult:
    silence_nonzero_ranks()
    task_type = TASKS.get(task_of(cfg))
    if task_type is None:
        raise ValueError(
            f"task is one of {', '.join(TASKS)}; got {task_of(cfg)}. Leave task out and choose with method=..."
        )
    check_used(overrides, unused=task_type.unused, chosen_by=task_type.chosen_by)
    check_one_batch(overrides)
    checkpoint = None
    if cfg.resume:
        name = task_type.run_name(cfg) if cfg.resume == "auto" else ""
        found = find_resumable(cfg, overrides, name=name, named_by=task_type.named_by)
        if found:
            checkpoint, cfg = found
            log.info("Resuming from %s.", checkpoint)
    pl.seed_everything(cfg.seed, verbose=False)
    task = TASKS[task_of(cfg)](cfg)
    trainer = _trainer(cfg)
    start, before = _position(checkpoint)
    batch = _batch(cfg, trainer, before)
    task.data.batch_size = batch.photos
    method = task.method(batch)
    with connected(trainer) as processes:
        folder = agree_on_run_dir(
            processes, checkpoint, lambda: _new_folder(Path(cfg.runs) / task.name, cfg, overrides)
        )
        trainer.callbacks += [*_keepers(cfg, folder, processes, batch, task), *callbacks]  # type: ignore[attr-defined]
        # TensorBoard must not show the points that a killed run logged after this checkpoint.
        trainer.logger = RunLogger(folder, purge_step=start or None) if start < cfg.steps else None
        if OmegaConf.select(cfg, "profile"):
            check_length(cfg.steps - start)
            if processes.first:
                trainer.profiler = EarlyStepsProfiler(folder / "profile", batches=trainer.accumulate_grad_batches)  # type: ignore[attr-defined]
        log.info(batch.sentence(OmegaConf.select(cfg, "method.optimizer.lr")))
        for file in task.network_files:
            if file.exists():
                if checkpoint:
                    check_replaced(file, overrides)
                log.info("%s will be overwritten at the end; network_file=... sets another file.", file)
        if _compiles(cfg, trainer, batch):
            compile_in_place(*task.compiled(method), forgiving=cfg.compile == "auto")
            trainer.callbacks.append(EagerFallback())  # type: ignore[attr-defined]
        metrics = _fit(cfg, trainer, method, task.data, checkpoint, folder)
        unreadable = tuple(dict.fromkeys(itertools.chain(*processes.all_gather(list(task.data.unreadable)))))
    if processes.first:
        task.save(method)
    return TrainingResult(tuple(task.network_files), folder, metrics, unreadable, first=processes.first)


def _fit(
    cfg: DictConfig,
    trainer: pl.Trainer,
    method: pl.LightningModule,
    data: InfiniteDataModule,
    checkpoint: Path | None,
    folder: Path,
) -> dict[str, float]:
    """Train from the checkpoint, or from step 0, to the last step; return the last losses by name."""
    if trainer.is_global_zero:
        remember_steps(folder, cfg.steps)
    if checkpoint is None and trainer.is_global_zero:
        text = f"```yaml\n{OmegaConf.to_yaml(resolve_paths(cfg))}\n```"
        trainer.logger.experiment.add_text("config", text)  # type: ignore[union-attr]
    checkpoints = folder / "checkpoints"
    with disk_error_hint(folder), closed_bar(trainer):
        trainer.fit(method, data, ckpt_path=checkpoint, weights_only=True)
        trainer.profiler = PassThroughProfiler()  # type: ignore[attr-defined] # A profile is of this fit alone.
        require_finite(method, {}, checkpoints=checkpoints, step=trainer.global_step)
        for keeper in trainer.checkpoint_callbacks:
            if isinstance(keeper, PeriodicCheckpoint):
                keeper.save(trainer)
    metrics = {k: float(v) for k, v in trainer.callback_metrics.items()}
    if cfg.steps % min(cfg.val_every, cfg.steps) or not any(name.startswith("val/") for name in metrics):
        metrics |= trainer.validate(method, data, verbose=False, weights_only=True)[0]
    require_finite(method, metrics, checkpoints=checkpoints, step=trainer.global_step)
    return metrics


def _batch(cfg: DictConfig, trainer: pl.Trainer, saved: EffectiveBatch | None) -> EffectiveBatch:
    """The effective batch: that of the resumed run, or `batch`, or `data.batch_size` for each process."""
    passes = trainer.world_size * trainer.accumulate_grad_batches
    given = OmegaConf.select(cfg, "batch")  # Older runs have no such key.
    return shared_batch(
        saved.size if saved else given or cfg.data.batch_size * passes,
        processes=trainer.world_size,
        accumulated=trainer.accumulate_grad_batches,
        rule=OmegaConf.select(cfg, "lr_rule", default="constant"),  # Older runs have no such key.
        reference=OmegaConf.select(cfg, "lr_reference_batch", default=4),
    )


def _compiles(cfg: DictConfig, trainer: pl.Trainer, batch: EffectiveBatch) -> bool:
    photos = cfg.steps * batch.photos * batch.accumulated
    return should_compile(cfg.compile, photos=photos, size=cfg.data.size, device=trainer.strategy.root_device)


def _position(checkpoint: Path | None) -> tuple[int, EffectiveBatch | None]:
    """Step and effective batch of the checkpoint to resume from."""
    if checkpoint is None:
        return 0, None
    saved = read_checkpoint(checkpoint)
    return saved["global_step"], saved_batch(saved)


def _trainer(cfg: DictConfig) -> pl.Trainer:
    accumulated: int = OmegaConf.select(cfg, "trainer.accumulate_grad_batches", default=1)
    trainer = instantiate(resolve_auto_devices(cfg.trainer), _convert_="all")(
        max_steps=cfg.steps,
        precision=best_precision() if cfg.precision == "auto" else cfg.precision,
        # Lightning counts batches here; a step with accumulated gradients has several.
        val_check_interval=min(cfg.val_every, cfg.steps) * accumulated,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        # InfiniteSampler already splits the photos among the processes.
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,  # _keepers adds it, when the processes have agreed on the run's folder.
        plugins=[AtomicCheckpointIO()],
        callbacks=[StepProgress(), Throughput(cfg.trainer.log_every_n_steps)],
        enable_model_summary=False,
    )
    assert isinstance(trainer, pl.Trainer)
    return trainer


def _keepers(
    cfg: DictConfig, folder: Path, processes: Processes, batch: EffectiveBatch, task: Task
) -> list[pl.Callback]:
    """Callbacks of the task, and those that write into the run's folder or need it."""
    checkpoints = folder / "checkpoints"
    return [
        *task.watchers,
        RNGStateCallback(),
        BatchSizeCheck(batch, per_process_state=task.per_process_state),
        SkipNonFinite(
            checkpoints, files_of=task.data.files_of, max_skips=cfg.max_skips, every=cfg.trainer.log_every_n_steps
        ),
        SignalCheckpoint(checkpoints, processes),
        PeriodicCheckpoint(checkpoints, every=cfg.checkpoint_every),
    ]


def _new_folder(parent: Path, cfg: DictConfig, overrides: Sequence[str]) -> Path:
    """Create a new run folder with the configuration and the overrides."""
    started = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    for copy in itertools.count(1):
        folder = parent / (started if copy == 1 else f"{started}_{copy}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        break
    (folder / CONFIG_FILE).write_text(OmegaConf.to_yaml(resolve_paths(cfg)))
    (folder / OVERRIDES_FILE).write_text(json.dumps(list(overrides)))
    return folder


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Lightning's messages about intended settings; restore all filters and log levels afterwards."""
    loggers = [logging.getLogger(name) for name in (*LIGHTNING_LOGGERS, "fast_style", "fast_style.interrupts")]
    levels = [logger.level for logger in loggers]
    try:
        with warnings.catch_warnings():
            for name in LIGHTNING_LOGGERS:
                logging.getLogger(name).setLevel(logging.WARNING)
            for message in EXPECTED_WARNINGS:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
