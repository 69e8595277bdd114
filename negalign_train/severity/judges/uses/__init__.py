"""What judges are used for: severities that readers left out, and GRPO's reward."""
