"""Who learns: one subject's side (encoders, objectives, training)."""
