"""Floor 1: data sets and models of a hub, fetched by name into the cache. Knows no torch."""
