"""Losses, trainers, the policy, and the launched entry point.

Importing this room takes the Hugging Face libraries offline and quietens them: TRL sends a
telemetry ping whenever a trainer is made (trl 1.16.0, trainer/base_trainer.py:82), and the switches
are read once, when ``huggingface_hub`` is imported. This module does something on import because
any later place is too late.
"""

from negalign_train.offline import go_offline
from negalign_train.quiet import quieten

go_offline()
quieten()
