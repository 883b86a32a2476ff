"""Settings of a process that uses Keras."""


def prepare() -> None:
    """Prepare the process; call it before Keras loads."""
