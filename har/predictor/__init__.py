"""A saved model on a file, a folder, an address, a camera."""
