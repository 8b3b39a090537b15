"""A reference Global Directory Service: the whole contract over SQLite or PostgreSQL, for development, CI, as a model.

It never imports ``xds``: the contract between the two is HTTP alone.
"""
