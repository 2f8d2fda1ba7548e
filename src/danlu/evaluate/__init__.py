"""Floor 4: measurements of a model. One module or package a task."""

TASKS = {
    "perplexity": "danlu.evaluate.perplexity",
    "tools": "danlu.evaluate.tools",
}
