"""Floor 1: data sets of a hub, fetched by name into the cache. Knows no torch."""
