"""Training: stage 1 (language modelling) and stage 2 (gradient matching)."""
