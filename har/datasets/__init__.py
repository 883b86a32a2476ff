"""Where clips come from: one module a source, chosen by `dataset.name`.

Its function `fetch(params, destination)` fills a folder with `Class/clip.ext`, or with videos and
the `segments.csv` of `har.clips.segments`, and goes on from what a kill left there. A source with
official splits has `official_splits(params, videos)`, which returns the rows of official.csv.
"""
