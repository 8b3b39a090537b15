"""A reference Global Directory Service: the whole GDS contract over SQLite, for development, CI and as a model.

It never imports ``xds``: the contract between the two is HTTP alone.
"""
