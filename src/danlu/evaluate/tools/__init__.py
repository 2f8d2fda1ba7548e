"""How well a model calls tools: cases are played with tools that really run, and what was called is scored.

cases      what is asked, what should be called, what an answer must hold: JSON lines
ready      the cases that come with us: six classic ones, and held-out dialogues of the starter set
boxes      the tools of a case, which run here or at an MCP server
talk       one case being played: questions, calls, results, at most three rounds, an answer
endpoint   a model behind an OpenAI endpoint            weights    a model in this process
play       many talks at once with either
judge      what a talk did against what its case wanted
metrics    counts over many talks                       report     all of it as JSON
"""
