"""Convolutions of few channels as convolutions of blocks of pixels.

A tensor core multiplies at least eight channels at a time; with three, most of it is idle. Here a
block of size × size pixels becomes one pixel with size² times as many channels, and a wider kernel,
most of it zeros, computes the outputs of all its pixels at once. The sums are the same. On an H100
the first convolution of the tutorial's LRCN, with its pooling, takes a third of the time, although
it multiplies more. Ridnik et al. (TResNet, WACV 2021) begin with such blocks and learn the kernel.

Channels of a block are ordered by row, column, channel.
"""

import math

from keras import ops

TENSOR_CORE = 8  # channels, of 16 bits each


def to_blocks(x, size: int):
    """Turn blocks into pixels: (N, H, W, C) to (N, H/size, W/size, size²·C)."""
    H, W, C = x.shape[1:]
    x = ops.reshape(x, (-1, H // size, size, W // size, size, C))
    x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
    return ops.reshape(x, (-1, H // size, W // size, size * size * C))


def from_blocks(x, size: int):
    """Invert `to_blocks`."""
    H, W, C = x.shape[1:]
    x = ops.reshape(x, (-1, H, W, size, size, C // size**2))
    x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
    return ops.reshape(x, (-1, H * size, W * size, C // size**2))


def block_kernel(kernel, size: int, before: tuple[int, int], groups: int = 1):
    """Return the kernel that does to blocks what `kernel` does to pixels.

    Args:
        kernel: (h, w, C, F).
        size: side of a block, in pixels.
        before: pixels by which the kernel begins above and to the left of its pixel.
        groups: groups of outputs in F; each group becomes whole blocks by itself.

    Returns:
        (h', w', size²·C, groups·size²·F/groups); it begins `before` / size blocks, rounded up,
        above and to the left.
    """
    C, F = kernel.shape[2:]
    wide = ops.reshape(kernel, (*kernel.shape[:3], groups, F // groups))
    for axis, start in enumerate(before):
        length = kernel.shape[axis]
        first = math.ceil(start / size) * size - start  # row of the first output's kernel
        total = math.ceil((first + size - 1 + length) / size) * size
        moved = []
        for i in range(size):
            around = [(0, 0)] * len(wide.shape)
            around[axis] = (first + i, total - length - first - i)
            moved.append(ops.pad(wide, around))
        wide = ops.stack(moved, axis=-2)
    h, w = wide.shape[0] // size, wide.shape[1] // size
    wide = ops.reshape(wide, (h, size, w, size, C, -1))
    wide = ops.transpose(wide, (0, 2, 1, 3, 4, 5))
    return ops.reshape(wide, (h, w, size * size * C, -1))


def convolve(x, kernel, size: int, padding: str, groups: int = 1):
    """Convolve pixels, with stride 1, and return blocks.

    Args:
        x: (N, H, W, C).
        kernel: (h, w, C, F).
        size: side of a block, in pixels.
        padding: `same` or `valid`.
        groups: as in `block_kernel`.

    Returns:
        (N, ⌈H'/size⌉, ⌈W'/size⌉, groups·size²·F/groups), where a convolution of pixels makes
        H' × W'. Pixels of a block beyond that size are meaningless.
    """
    around = [(0, 0)]
    for length, reach in zip(x.shape[1:3], kernel.shape[:2], strict=True):
        made = length if padding == "same" else length - reach + 1
        total = (math.ceil(made / size) + math.ceil((reach - 1) / size)) * size
        before = (reach - 1) // 2 if padding == "same" else 0
        around.append((before, total - before - length))
    blocks = to_blocks(ops.pad(x, [*around, (0, 0)]), size)
    return ops.conv(blocks, block_kernel(kernel, size, (0, 0), groups), padding="valid")
