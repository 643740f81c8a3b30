"""How much each part does: on a GPU, and in the dry run on a CPU."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Sizes:
    """Sizes and counts of all parts. The defaults are for one large GPU.

    Attributes:
        matmul: side of the matrices whose product gives the measured peak.
        side: side of a training crop in pixels.
        network: settings of scripts/train.py that shrink the networks.
        batches: batch sizes of the training step.
        steps: steps per round by batch size; the published loop takes a third of them.
        rounds: rounds in which the loops alternate.
        variant_steps: timed steps of each variant of the breakdown.
        variants: number of the breakdown's variants.
        photos: photos in the folder; `distinct` of them are different files.
        load_seconds: seconds for which each loader is timed.
        load_batches: batch sizes of the loaders.
        run_steps: timed steps of a training from the folder, through scripts/train.py's code.
        quick: settings that shorten `experiment=quick`.
        evaluation_size: size of the judged photos in pixels.
        runtimes: number of the stylizing variants.
        pictures: height and width of the stylized images.
        passes: timed calls per image.
        limited: height and width of the image that does not fit into the limited memory.
        resume: settings, steps between checkpoints and the step after which the training is killed.
    """

    dry: bool = False
    matmul: int = 8192
    side: int = 256
    network: tuple[str, ...] = ()
    batches: tuple[int, ...] = (4, 16, 64)
    steps: dict[int, int] = field(default_factory=lambda: {4: 90, 16: 45, 64: 18})
    rounds: int = 3
    variant_steps: int = 60
    variants: int = 6
    photos: int = 2000
    distinct: int = 128
    load_seconds: float = 3.0
    load_batches: tuple[int, ...] = (4, 16, 64)
    run_steps: int = 400
    quick: tuple[str, ...] = ()
    evaluation_size: int = 512
    pictures: dict[str, tuple[int, int]] = field(
        default_factory=lambda: {"512": (512, 512), "1080p": (1080, 1920), "4K": (2160, 3840)}
    )
    runtimes: int = 6
    passes: int = 20
    limited: tuple[int, int] = (2160, 3840)
    checkpoint_every: int = 50
    kill_after: int = 130
    resume_steps: int = 300


#: Everything that shrinks the networks of johnson2016 for a CPU.
SMALL = (
    *("generator.width=4", "generator.blocks=1", "style.size=32", "data.held_out=2"),
    *("loss.content_layers=[relu1_2]", "loss.style_layers=[relu1_2]"),
)

DRY = Sizes(
    dry=True,
    matmul=256,
    side=32,
    network=SMALL,
    batches=(2,),
    steps={2: 4},
    rounds=2,
    variant_steps=3,
    variants=3,
    photos=24,
    distinct=6,
    load_seconds=0.3,
    load_batches=(2,),
    run_steps=8,
    quick=(
        *("steps=4", "val_every=4", "checkpoint_every=4", "data.size=64", "data.workers=0", "style.size=64"),
        *("init_from=null", "generator.width=4", "generator.blocks=1", "trainer.accelerator=cpu"),
    ),
    evaluation_size=48,
    pictures={"512": (48, 64), "1080p": (48, 80), "4K": (81, 144)},
    runtimes=5,
    passes=2,
    limited=(256, 320),
    checkpoint_every=5,
    kill_after=12,
    resume_steps=20,
)
