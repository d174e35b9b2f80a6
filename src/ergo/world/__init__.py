"""The world: scenes with exact truth, so that a small model can learn ERGO's problem and anyone can measure it."""
