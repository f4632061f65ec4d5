#!/usr/bin/python3
"""Images as PIL resizes them and transformers' CLIPImageProcessor crops them.
usage: clip_image.py > clip_image.json                made with Pillow 9.4.0
Pixel (y, x, c) of an image is (7 x^2 + 13 y^2 + 31 x y + 50 c + 90 sin(x / 3 + c) sin(y / 5)) mod 256, rounded down: edges and slopes of all kinds."""
import json, math
from PIL import Image

CASES = [(37, 53, 16, 3), (53, 37, 16, 3), (10, 13, 16, 3), (64, 100, 24, 2), (20, 20, 20, 3), (9, 30, 12, 2), (200, 31, 8, 3)]


def picture(height, width):
    image = Image.new("RGB", (width, height))
    image.putdata([tuple(int(7 * x * x + 13 * y * y + 31 * x * y + 50 * c + 90 * math.sin(x / 3 + c) * math.sin(y / 5)) % 256 for c in range(3))
                   for y in range(height) for x in range(width)])
    return image


def prepared(height, width, size, resample):
    short, long = min(height, width), max(height, width)
    other = int(size * long / short)
    new = (other, size) if width >= height else (size, other)
    if height == width: new = (size, size)
    image = picture(height, width).resize(new, resample)
    left, top = (new[0] - size) // 2, (new[1] - size) // 2
    return image.crop((left, top, left + size, top + size))


print(json.dumps([{"height": h, "width": w, "size": s, "resample": r, "rgb": prepared(h, w, s, r).tobytes().hex()} for h, w, s, r in CASES]).replace("}, {", "},\n{"))
