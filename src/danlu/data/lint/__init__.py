"""What is wrong with rows, and what is odd about them, before a model sees them.

    walk        every row with its place, from any files; what cannot be opened is told, reading goes on
    findings    what was found: bad (training refuses it) or a remark
    survey      one pass: counts, lengths, strange characters, mojibake, duplicates
    mending     the rows again with what can be mended without guessing
    report      all of it for a person, or as JSON

Nothing here decides whether a row is valid: that is said by `danlu.data.records`, which training asks too.
"""
