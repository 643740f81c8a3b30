"""Convert every Pillow mode to sRGB colour, composited over white, and an alpha channel."""

import io
from contextlib import suppress
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

# Colour over white (mode RGB; mode F in 0 to 1 for grey images with more than 8 bits) and alpha (mode L).
Layers = tuple[Image.Image, Image.Image | None]


def flattened(image: Image.Image) -> Layers:
    """Return the sRGB colours of a decoded image, and its alpha channel or None."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _deep_grey(image)
    profile, alpha = image.info.get("icc_profile"), None
    if image.has_transparency_data:
        # Keep grey images grey: a grey ICC profile cannot be applied to RGB.
        grey = image.mode in ("1", "L", "LA", "La")
        image = image.convert("LA" if grey else "RGBA")
        image, alpha = image.convert("L" if grey else "RGB"), image.getchannel("A")
    colour = _as_srgb(image, profile)
    if alpha is None:
        return colour, None
    return Image.composite(colour, Image.new("RGB", colour.size, "white"), alpha), alpha


def _deep_grey(image: Image.Image) -> Layers:
    # Pillow's own conversions of these modes clip at 255 instead of scaling.
    values = np.asarray(image)
    full = 65535
    if image.mode == "F":
        # Float files hold 0..1 (highlights may exceed 1) or Pillow's 0..255, and no tag says which.
        # An image in 0..255 with no value above 16 would be almost black, so 16 separates the two.
        full = 255 if np.max(values, where=np.isfinite(values), initial=0) > 16 else 1
    grey = np.nan_to_num(values.astype(np.float32) / full).clip(0, 1)
    clear = image.info.get("transparency")
    if clear is None:
        return Image.fromarray(grey), None
    grey[values == clear] = 1
    return Image.fromarray(grey), Image.fromarray((values != clear).astype(np.uint8) * 255)


def _as_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    # Broken or mismatched profiles are common; the pixels are then used unchanged.
    with suppress(Exception):
        if profile:
            transform = _to_srgb(profile, image.mode)
            return transform.apply(image.convert(transform.input_mode))
    return image if image.mode == "RGB" else image.convert("RGB")


@lru_cache(maxsize=16)  # Building one takes milliseconds, and most photos of a folder have the same profile.
def _to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform:
    source, srgb = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
    # Grey and palette images often carry an RGB profile; other mismatches raise an error.
    mode = "RGB" if source.profile.xcolor_space.strip() == "RGB" else mode
    # As in browsers; the default intent, perceptual, needs tables that few profiles have.
    intent, flags = ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION
    return ImageCms.buildTransform(source, srgb, mode, "RGB", intent, flags)
