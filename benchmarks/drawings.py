"""Drawings and screenshots: text, a terminal, a chart, a diagram, a window, shaded spheres.

Each is the same in every run: nothing is random, and the fonts are those that matplotlib brings.
"""

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

LICENCE = Path(__file__).parents[1] / "LICENSE"
INK, PAPER, BLUE, RED, GREEN, GREY = "#1c2430", "#ffffff", "#2f6fb2", "#c8432b", "#3b8a4a", "#d7dce2"


def font(name: str, size: int) -> ImageFont.FreeTypeFont:
    path = Path(matplotlib.get_data_path(), "fonts", "ttf", f"{name}.ttf")
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)


def page() -> Image.Image:
    """The first lines of the licence as black text."""
    image = Image.new("RGB", (800, 1000), PAPER)
    text = "\n".join(LICENCE.read_text(encoding="utf-8").splitlines()[:52])
    ImageDraw.Draw(image).multiline_text((40, 40), text, INK, font("DejaVuSans", 15), spacing=4)
    return image


def terminal() -> Image.Image:
    """A log with coloured columns on a dark ground."""
    image = Image.new("RGB", (720, 480), "#10151c")
    draw, mono = ImageDraw.Draw(image), font("DejaVuSansMono", 14)
    for line in range(25):
        step = 137 * (line + 1)
        columns = (
            (12, f"{step:>6}", "#7f8b99"),
            (90, f"step {line + 1} of 25", "#e6e9ee"),
            (270, f"loss {3 + 2 / (line + 1):.4f}", "#e0b03c"),
            (410, f"{step * 7919 % 1000:>4} ms", "#57b86a"),
            (500, "#" * (line + 2), "#4aa3d8"),
        )
        for x, text, colour in columns:
            draw.text((x, 12 + 18 * line), text, colour, mono)
    return image


def chart(transparent: bool = False) -> Image.Image:
    """Three curves and a map of colours; `transparent` leaves out the ground."""
    figure = Figure(figsize=(9, 4.5), dpi=100)
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    x = np.linspace(0, 10, 200)
    for number, colour in enumerate((BLUE, RED, GREEN), 1):
        left.plot(x, np.exp(-x / (3 * number)) * np.cos(number * x), color=colour, label=f"n = {number}")
    left.legend()
    left.set(title="damped waves", xlabel="time", ylabel="amplitude")
    left.grid(color=GREY)
    grid = np.linspace(-3, 3, 60)
    right.imshow(np.sin(grid[:, None] ** 2) * np.cos(grid[None]), cmap="viridis", extent=(-3, 3, -3, 3))
    right.set_title("a map")
    if transparent:
        figure.patch.set_alpha(0)
        left.patch.set_alpha(0)
    figure.canvas.draw()
    pixels = np.array(figure.canvas.buffer_rgba())
    return Image.fromarray(pixels if transparent else pixels[..., :3].copy())


def diagram() -> Image.Image:
    """Boxes, circles and lines with smooth edges."""
    image = Image.new("RGB", (4 * 640, 4 * 400), PAPER)
    draw = ImageDraw.Draw(image)
    for row in range(3):
        for column in range(4):
            x, y = 4 * (40 + 150 * column), 4 * (30 + 125 * row)
            colour = (BLUE, RED, GREEN, "#e0b03c")[(row + column) % 4]
            if (row + column) % 3 == 0:
                draw.ellipse((x, y, x + 380, y + 340), fill=colour, outline=INK, width=8)
            else:
                draw.rounded_rectangle((x, y, x + 380, y + 340), 60, fill=colour, outline=INK, width=8)
            if column < 3:
                draw.line((x + 380, y + 170, x + 600, y + 170), fill=INK, width=8)
            if row < 2:
                draw.line((x + 190, y + 340, x + 190, y + 500), fill=INK, width=8)
            draw.text((x + 120, y + 100), f"{row}{column}", PAPER, font("DejaVuSans-Bold", 120))
    return image.reduce(4)


def window(photograph: Image.Image) -> Image.Image:
    """A window with a toolbar, a list, text and a photograph."""
    ramp = np.linspace(0, 1, 1000)[None, :, None] * np.linspace(0.4, 1, 640)[:, None, None]
    ground = np.array([24, 60, 110]) + ramp * np.array([90, 80, 60])
    image = Image.fromarray(np.rint(ground).astype(np.uint8))
    draw, small = ImageDraw.Draw(image), font("DejaVuSans", 13)
    draw.rounded_rectangle((60, 40, 940, 600), 10, fill=PAPER, outline="#8a95a3")
    draw.rounded_rectangle((60, 40, 940, 80), 10, fill=GREY)
    draw.text((430, 51), "Pictures", INK, font("DejaVuSans-Bold", 15))
    for number, colour in enumerate((RED, "#e0b03c", GREEN)):
        draw.ellipse((74 + 22 * number, 53, 88 + 22 * number, 67), fill=colour)
    for number in range(22):
        if number == 4:
            draw.rectangle((61, 92 + 22 * number, 238, 113 + 22 * number), fill=BLUE)
        name = f"picture_{number + 1:04d}.png"
        draw.text((76, 94 + 22 * number), name, PAPER if number == 4 else INK, small)
    draw.line((240, 80, 240, 599), fill=GREY)
    image.paste(photograph, (270, 110))
    lines = LICENCE.read_text(encoding="utf-8").split()[20:140]
    text = "\n".join(" ".join(lines[begin : begin + 12]) for begin in range(0, 120, 12))
    draw.multiline_text((270, 130 + photograph.height), text, INK, small, spacing=5)
    return image


def spheres() -> Image.Image:
    """Spheres lit from one side, without noise."""
    y, x = np.mgrid[:400, :600].astype(np.float64)
    pixels = np.repeat((40 + 60 * y / 400)[..., None], 3, axis=2)
    for number, colour in enumerate(((220, 90, 60), (70, 150, 220), (90, 190, 100), (230, 190, 80))):
        across, down = (x - 90 - 140 * number) / 80, (y - 200 - 60 * (-1) ** number) / 80
        inside = across**2 + down**2 < 1
        depth = np.sqrt(np.maximum(0, 1 - across**2 - down**2))
        light = np.maximum(0, 0.6 * depth - 0.5 * across - 0.6 * down)
        pixels[inside] = ((0.15 + 0.85 * light)[..., None] * np.array(colour))[inside]
    return Image.fromarray(np.rint(pixels.clip(0, 255)).astype(np.uint8))
