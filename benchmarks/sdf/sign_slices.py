"""Pictures of the points of a plane that are inside, for `benchmarks.sdf.sign_reference`."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image, ImageDraw, ImageFont

PIXELS = 300
"""Width and height of a picture, in pixels."""
TITLE_HEIGHT = 24
"""Height of the title above it, in pixels."""
INSIDE_COLOR, OUTSIDE_COLOR, HATCH_COLOR = np.array([[240.0, 160.0, 60.0], [190.0, 215.0, 240.0], [150.0, 0.0, 90.0]])


def plane_points(axis: int) -> Float[np.ndarray, "pixels 3"]:
    """Return the points of the unit frame under the pixels of a picture across an axis, row by row; +y is up, or -z
    across y."""
    line = ((np.arange(PIXELS) + 0.5) / PIXELS * 2.0 - 1.0) * 1.02
    right, up = np.meshgrid(line, -line)
    flat = np.full_like(right, 0.013)  # Off the middle, where symmetric meshes have faces in the plane.
    return np.stack(((flat, up, -right), (right, flat, -up), (right, up, flat))[axis], -1).reshape(-1, 3)


def tile(
    inside: Bool[np.ndarray, "pixels"], contested: Bool[np.ndarray, "pixels"], distance: Float[np.ndarray, "pixels"]
) -> Image.Image:
    """Draw inside orange, outside blue, contested points hatched, and the surface black."""
    color = np.where(inside[:, None], INSIDE_COLOR, OUTSIDE_COLOR)
    hatched = contested & (np.add.outer(np.arange(PIXELS), np.arange(PIXELS)) % 6 < 2).reshape(-1)
    color[hatched] = 0.45 * color[hatched] + 0.55 * HATCH_COLOR
    color[distance < 0.004] = 0.0
    return Image.fromarray(color.reshape(PIXELS, PIXELS, 3).astype(np.uint8))


def contact_sheet(tiles: Sequence[tuple[str, Image.Image]], *, columns: int = 5) -> Image.Image:
    """Arrange tiles in rows, each under its title; the beginning of a title that is too long is cut off."""
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (columns * PIXELS, rows * (PIXELS + TITLE_HEIGHT)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for number, (title, picture) in enumerate(tiles):
        while font.getlength(title) > PIXELS - 12:
            title = title[1:]
        left, top = number % columns * PIXELS, number // columns * (PIXELS + TITLE_HEIGHT)
        draw.text((left + 4, top + 5), title, fill="black", font=font)
        sheet.paste(picture, (left, top + TITLE_HEIGHT))
    return sheet
