"""What people read of a run: report, dataset card, tables, comparisons."""
