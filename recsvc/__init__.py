"""recsvc: the online service. Imports nothing at package level, and never torch."""
