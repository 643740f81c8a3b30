"""The bundled training photos: complete, offline, in an exact order and in many colours."""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest
import torch
from checkout import CHECKOUT, CONF
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from fast_style.data.sample_photos import SAMPLE_PHOTOS, SamplePhotos, Tint, sample_files
from fast_style.images.tensors import load_pixels

COLOURS = {"permute": 1.0, "brightness": 0.3, "contrast": 0.3, "saturation": 0.5, "hue": 0.1, "tint": 0.4}
MIX = {"synthetic": 0.3, "gradients": 0.3, "flat": 0.3}


def photos(*, seen=None, **options):
    # Only two training photos, bricks and coins, which are read quickly.
    data = SamplePhotos(**{"size": 16, "batch_size": 3, "held_out": len(SAMPLE_PHOTOS) - 2, "workers": 0, **options})
    if seen is not None:
        data.load_state_dict({"photos_seen": seen * data.batch_size, "unreadable": []})
    data.setup()
    return data


def batches(data, count):
    return list(islice(data.train_dataloader(), count))


def same(some, others):
    return len(some) == len(others) and all(
        torch.equal(x.pixels, y.pixels) and x.files == y.files for x, y in zip(some, others, strict=True)
    )


def test_every_photo_exists_and_its_card_states_its_origin_and_terms():
    files = sample_files()
    assert [Path(file).name for file in files] == list(SAMPLE_PHOTOS)
    rows = re.findall(r"^\| (\S+) (?:\(.*?\) )?\| (.+) \| (.+) \| (.+) \| (.+) \|$", card(), re.MULTILINE)
    free = [name for name, *_, terms in rows if re.search("CC0|public domain|No known copyright restrictions", terms)]
    assert free == list(SAMPLE_PHOTOS)
    for file in files:
        assert min(load_pixels(file).shape[1:]) >= 300
        assert Path(file).stat().st_size < 600_000


def card():
    return (CHECKOUT / "data/samples/README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_no_network_access_and_no_new_file(tmp_path):
    code = """
import sys
from fast_style.data.sample_photos import SamplePhotos

def watch(event, details):
    if event.startswith("socket.") or (event == "import" and details[0].split(".")[0] == "pooch"):
        raise AssertionError(f"{event} {details}")

sys.addaudithook(watch)
data = SamplePhotos(size=8, batch_size=2, workers=0, synthetic=0.5, flat=0.5)
data.setup()
next(iter(data.train_dataloader())), next(iter(data.val_dataloader()))
"""
    home = {**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-c", code], check=True, env=home, cwd=CHECKOUT)
    assert list(tmp_path.iterdir()) == []


def test_photos_are_found_from_any_folder_and_in_the_current_folder_first(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert Path(sample_files()[0]) == CHECKOUT / "data/samples/rocket.jpg"
    shutil.copytree(CHECKOUT / "data/samples", "data/samples")
    assert Path(sample_files()[0]) == tmp_path / "data/samples/rocket.jpg"


def test_missing_photos_are_named(monkeypatch, tmp_path):
    (tmp_path / "data/samples").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    for name in SAMPLE_PHOTOS[2:]:
        (tmp_path / "data/samples" / name).touch()
    with pytest.raises(ValueError, match=r"needs rocket.jpg, coffee.png in .*data/samples, found nothing.*data=folder"):
        photos()


def test_workers_change_nothing():
    assert same(batches(photos(**COLOURS, **MIX), 5), batches(photos(**COLOURS, **MIX, workers=2), 5))


@pytest.mark.parametrize("seen", [1, 8])
def test_a_resumed_run_continues_with_the_next_batch(seen):
    straight = batches(photos(**COLOURS, **MIX), seen + 3)
    data = photos(**COLOURS, **MIX, seen=seen)
    assert same(batches(data, 3), straight[seen:])
    assert not same(batches(photos(**COLOURS, **MIX), 3), straight[seen:])
    assert data.state_dict() == {"photos_seen": 3 * seen, "unreadable": [], "photos": len(data.training)}


def test_another_seed_gives_other_batches():
    assert not same(batches(photos(seed=1), 2), batches(photos(seed=2), 2))


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, {}),
        ({"synthetic": 0.2}, {"dead_leaves": 10}),
        ({"synthetic": 0.5, "flat": 0.25}, {"dead_leaves": 30, "flat": 10}),
        ({"synthetic": 0.5, "flat": 0.25, "gradients": 0.75}, {"flat": 10, "gradient": 30}),
    ],
)
def test_synthetic_images_have_their_shares(options, wanted):
    data = photos(**options)
    names = Counter(Path(data.training.pictures.name_of(index)).name for index in range(len(data.training)))
    expected = {f"a synthetic image ({kind})": count for kind, count in wanted.items()}
    assert names == {"brick.png": 20, "coins.png": 20, **expected}
    assert sorted(data.epoch_order.order_of(0)) == list(range(len(data.training)))


def test_a_name_belongs_to_the_loaded_image():
    pictures = photos(synthetic=0.5, flat=0.5).training.pictures
    for index in (0, 1, 39):
        assert torch.equal(pictures.load((4, index), at_least=1), load_pixels(pictures.name_of(index)))
    assert pictures.name_of(40) == "a synthetic image (dead_leaves)"
    assert pictures.name_of(79) == "a synthetic image (flat)"
    assert pictures.load((4, 79), at_least=1).shape == (3, 24, 24)


@pytest.mark.parametrize("held_out", [8, 10])
def test_held_out_photos_are_for_validation_and_never_trained_on(held_out):
    data = photos(held_out=held_out, synthetic=0.2)
    shown = [file for batch in data.val_dataloader() for file in batch.files]
    assert shown == sample_files()[:held_out]
    trained = {data.training.pictures.name_of(index) for index in range(len(data.training))}
    assert trained.isdisjoint(shown)


def test_by_default_no_scene_is_in_both_training_and_validation():
    assert SAMPLE_PHOTOS[:2] == ("rocket.jpg", "coffee.png")


def test_without_colour_changes_a_crop_keeps_the_photos_colours():
    data = photos(crop_scale=(1.0, 1.0), flip=0.0)
    for batch in batches(data, 4):
        assert (batch.pixels.float() - batch.pixels.float().mean(1, keepdim=True)).abs().max() == 0  # Grey stays grey.


def test_grey_photos_come_in_many_colours():
    crops = torch.cat([batch.pixels.float() for batch in batches(photos(**COLOURS), 12)])
    means = crops.mean((2, 3))
    assert ((means.amax(1) - means.amin(1)) > 8).float().mean() > 0.6
    assert set(means.argmax(1).tolist()) == {0, 1, 2}
    assert crops.dtype == torch.float32
    assert crops.mean((1, 2, 3)).std() > 10


def test_augmentation_does_not_change_the_photos_in_memory():
    data = photos(**COLOURS, crop_scale=(1.0, 1.0))
    batches(data, 6)
    for file, pixels in zip(data.training.pictures.files, data.training.pictures.photos, strict=True):
        assert torch.equal(pixels, load_pixels(file))


@pytest.mark.parametrize("strength", [0.0, 0.4, 2.0])
def test_a_tint_changes_each_channel_and_keeps_black_and_white(strength):
    ramp = torch.arange(256, dtype=torch.uint8).expand(3, 2, 256)
    torch.manual_seed(3)
    tinted = Tint(strength)(ramp)
    assert (tinted.dtype, tinted.shape) == (torch.uint8, ramp.shape)
    assert torch.equal(tinted[..., 0], ramp[..., 0])
    assert torch.equal(tinted[..., -1], ramp[..., -1])
    assert (tinted.int().diff(dim=-1) >= 0).all()
    if not strength:
        assert torch.equal(tinted, ramp)
        return
    powers = (tinted[:, 0, 100].double() / 255).log() / torch.tensor(100 / 255, dtype=torch.float64).log()
    assert (powers < 1 + strength + 0.05).all()
    assert (powers > 1 / (1 + strength) - 0.05).all()
    assert len(set(powers.tolist())) == 3


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"synthetic": 1.0}, "data.synthetic must be a share"),
        ({"synthetic": -0.1}, "data.synthetic must be a share"),
        ({"flat": 0.6, "gradients": 0.5}, "add up to 1 at most"),
        ({"flat": -0.1}, "data.flat must be a share"),
        ({"permute": 1.1}, "data.permute must be a share"),
        ({"brightness": 2.0}, "data.brightness must be a share"),
        ({"saturation": -1.0}, "data.saturation must be a share"),
        ({"hue": 0.6}, "data.hue must be from 0 to 0.5"),
        ({"tint": -0.1}, "data.tint at least 0"),
        ({"held_out": len(SAMPLE_PHOTOS)}, "leaves none of the 12 photos for training"),
        ({"held_out": 0}, "data.held_out must be at least 1"),
    ],
    ids=str,
)
def test_invalid_settings_are_refused(options, wanted):
    with pytest.raises(ValueError, match=wanted):
        SamplePhotos(**options)


def test_the_configuration_trains_on_photos_of_every_kind():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", ["data=samples", "data.size=16", "data.workers=0"])
    data = instantiate(cfg.data, _convert_="all")
    data.setup()
    names = Counter(Path(data.training.pictures.name_of(index)).name for index in range(len(data.training)))
    synthetic = sum(count for name, count in names.items() if name.startswith("a synthetic"))
    assert synthetic / names.total() == pytest.approx(cfg.data.synthetic, abs=0.005)
    assert len(names) == len(SAMPLE_PHOTOS) - cfg.data.held_out + 3
    assert cfg.data.crop_scale[0] == 0.2
