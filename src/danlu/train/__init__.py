"""Floor 4: how to step, log, stop and save; never which idea is being trained."""
