"""Our trainers, one level over TRL's: DPO, KTO, GRPO, and the whole step DPO and KTO share."""
