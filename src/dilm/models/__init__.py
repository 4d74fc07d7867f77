"""Models: the generator, the learner, and what works without a hub."""
