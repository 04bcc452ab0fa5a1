"""How X is read, and what flows between the steps of a pipeline."""
