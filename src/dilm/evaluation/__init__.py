"""Evaluation: fresh learners trained on small sets, and statistics over their runs."""
