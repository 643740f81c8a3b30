"""From every mode that Pillow knows to colour over white, as sRGB, and alpha."""

import io
from contextlib import suppress

import numpy as np
from PIL import Image, ImageCms

# Colour over white (mode RGB, or F from 0 to 1 for deep greys) and alpha (mode L).
Layers = tuple[Image.Image, Image.Image | None]


def flattened(image: Image.Image) -> Layers:
    """The colours of a decoded picture, and its alpha if it has one."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _deep_grey(image)
    profile, alpha = image.info.get("icc_profile"), None
    if image.has_transparency_data:
        # Grey stays grey: a grey profile does not fit RGB.
        grey = image.mode in ("1", "L", "LA", "La")
        image = image.convert("LA" if grey else "RGBA")
        image, alpha = image.convert("L" if grey else "RGB"), image.getchannel("A")
    colour = _as_srgb(image, profile)
    if alpha is None:
        return colour, None
    return Image.composite(colour, Image.new("RGB", colour.size, "white"), alpha), alpha


def _deep_grey(image: Image.Image) -> Layers:
    # By hand: Pillow's own conversions of these modes clip at 255 instead of scaling.
    values = np.asarray(image)
    full = 65535
    if image.mode == "F":
        # Float files hold 0..1 (and highlights above) or Pillow's own 0..255, and do not say
        # which; a picture in 0..255 with nothing above 16 would be all but black.
        full = 255 if np.max(values, where=np.isfinite(values), initial=0) > 16 else 1
    grey = np.nan_to_num(values.astype(np.float32) / full).clip(0, 1)
    clear = image.info.get("transparency")
    if clear is None:
        return Image.fromarray(grey), None
    grey[values == clear] = 1
    return Image.fromarray(grey), Image.fromarray((values != clear).astype(np.uint8) * 255)


def _as_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    # A broken or unfitting profile is common; the pixels then go as they are.
    with suppress(Exception):
        if profile:
            return _through_profile(image, ImageCms.ImageCmsProfile(io.BytesIO(profile)))
    return image if image.mode == "RGB" else image.convert("RGB")


def _through_profile(image: Image.Image, source: ImageCms.ImageCmsProfile) -> Image.Image:
    # Grey and palette pictures often carry an RGB profile; what fits no profile raises.
    image = image.convert("RGB") if source.profile.xcolor_space.strip() == "RGB" else image
    srgb = ImageCms.createProfile("sRGB")
    # As browsers do; the default, perceptual, needs tables that few profiles have.
    intent, flags = ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION
    return ImageCms.buildTransform(source, srgb, image.mode, "RGB", intent, flags).apply(image)
