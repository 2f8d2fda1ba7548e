"""Floor 3: ranks, meshes, and how a model is wrapped for them; never a loss, never a stage."""
