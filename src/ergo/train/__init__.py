"""Teaching a policy where to look: the cold start (sft) and reinforcement learning (grpo)."""
