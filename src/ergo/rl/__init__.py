"""Reinforcement learning (paper section 3): rewards, evidence, advantages, the GRPO step, its trainer."""
