"""A saved model on a file, a folder, an address, a camera.

`recogniser` holds the model; `windows`, `timeline` and `outputs` are functions of what it says;
`sources` and `web_video` bring frames; `annotation` draws on them.
"""
