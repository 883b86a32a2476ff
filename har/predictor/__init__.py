"""A saved model on a file, a folder, a URL, a camera.

`recogniser` holds the model; `ring`, `timeline` and `subtitles` are pure functions of what it
says; `source`, `download` and `camera` bring frames; `annotation` draws on them.
"""
