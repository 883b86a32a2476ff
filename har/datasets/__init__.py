"""Where clips come from: one module a source, chosen by `dataset.name`.

A source is a module `har.datasets.<name>` with a function `fetch(params, destination)` that
fills the folder `destination` with `Class/clip.ext`, or with videos and `segments.csv`, which
lists clips as parts of them (`har.clips.segments`). What a kill left there is there again on
the next call; a source goes on from it. A source with official splits has a second function,
`official_splits(params, videos)`, that returns the rows of official.csv.
"""
