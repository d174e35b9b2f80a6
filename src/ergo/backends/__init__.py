"""Ways to reach a model. Each is imported only when asked for."""
