"""A network and images become fitted weights."""
