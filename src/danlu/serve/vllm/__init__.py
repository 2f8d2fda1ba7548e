"""A vLLM for finished weights: planned, started, watched, proved, and ended with nothing left behind.

    model      what a server must know of the weights       degree     over how many devices, and why
    plan       the exact command for this host              unfit      why the built-in server answers instead
    process    a server's process group                     state      which servers run here
    progress   how far it is, told from its log             proof      one chat and one tool call over HTTP

Nothing here imports torch: it starts in a blink, on hosts where the only torch is vLLM's.
"""
