"""The store in PostgreSQL, which several instances may serve at once. Needs the extra ``postgres``."""
