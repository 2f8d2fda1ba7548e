"""Floor 4: measurements of a model. Each task is a module with a `measure` function."""

TASKS = {
    "perplexity": "danlu.evaluate.perplexity",
}
