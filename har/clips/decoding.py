"""What a worker does: decode one file and put its frames into their place in the store.

A module by itself, since workers import it and little else: they start in half the time.
"""

from pathlib import Path

import cv2

from har.clips import video


def decode(
    path: Path, shape: tuple[int, int, int], part: Path, offset: int
) -> video.VideoFacts | str:
    """Put a clip's frames into `part` at `offset`; return its facts, or why there are none.

    Args:
        path: the video.
        shape: (T, H, W) of the frames to keep.
        part: an existing store, which others write to at the same time, elsewhere.
        offset: of the clip's T·H·W·3 bytes.
    """
    cv2.setNumThreads(1)  # clips are decoded side by side, a core each
    try:
        frames, facts = video.read_clip(path, *shape)
    except video.UnreadableVideoError as error:
        return str(error)
    except FileNotFoundError:
        return "gone while the run went on, or not to be seen by this worker"
    except PermissionError:
        return "must not be read: permission denied"
    write(part, offset, frames.data)
    return facts


def write(part: Path, offset: int, pixels: bytes | memoryview) -> None:
    """Overwrite bytes of an existing file."""
    with part.open("r+b") as file:
        file.seek(offset)
        file.write(pixels)
