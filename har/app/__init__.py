"""The web page: `limits` bounds what a visitor may ask, `desk` answers, `page` shows it.

Nothing here knows how videos are recognised; that is `har.predictor`.
"""
