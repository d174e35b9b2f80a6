"""Adapters to other people's engines: verl, TRL's vLLM, lmms-eval."""
