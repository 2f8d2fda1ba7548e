"""Checks of an export, one kind a file; each yields what it finds wrong and measures as it goes.

files     whole, as they were written, none more
tensors   each recomputed from the source, bit for bit
config    every field, as it must be and as others read it
words     tokenizer, template, ids of whole chats
logits    transformers' answers beside the trainer's
engine    vLLM's
"""
