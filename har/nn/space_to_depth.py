"""Convolutions of few channels as convolutions of blocks of pixels.

A tensor core multiplies at least eight channels at a time. A block of size × size pixels becomes
one pixel with size² times as many channels, ordered by row, column, channel; a wider kernel, most
of it zeros, computes the same sums. Ridnik et al. (TResNet, WACV 2021) learn such a kernel.
"""

import math

from keras import ops

TENSOR_CORE = 8  # channels, of 16 bits each


def block_kernel(kernel, size: int, before: tuple[int, int], groups: int = 1):
    """Return the kernel that does to blocks what `kernel`, (h, w, C, F), does to pixels.

    The kernel begins `before` pixels above and to the left of its pixel, the result `before` / size
    blocks, rounded up. Each of the `groups` of F becomes whole blocks by itself. The result is
    (h', w', size²·C, groups·size²·F/groups).
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
    """Convolve pixels, (N, H, W, C), by (h, w, C, F) with stride 1, and return blocks.

    The result is (N, ⌈H'/size⌉, ⌈W'/size⌉, groups·size²·F/groups), where a convolution of pixels
    makes H' × W'. Pixels of a block beyond that size are meaningless.
    """
    around = [(0, 0)]
    for length, reach in zip(x.shape[1:3], kernel.shape[:2], strict=True):
        made = length if padding == "same" else length - reach + 1
        total = (math.ceil(made / size) + math.ceil((reach - 1) / size)) * size
        before = (reach - 1) // 2 if padding == "same" else 0
        around.append((before, total - before - length))
    blocks = ops.space_to_depth(ops.pad(x, [*around, (0, 0)]), size)
    return ops.conv(blocks, block_kernel(kernel, size, (0, 0), groups), padding="valid")
