"""What a task says of the report to be graded, whichever system shows it."""

from __future__ import annotations

from typing import Any

from negalign_train.vocabulary.records import Event, Prompt


def shown_prompt(prompt: Prompt) -> str:
    """A prompt as one text: messages below each other, each after who speaks."""
    if isinstance(prompt, str):
        return prompt
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in prompt)


def task_context(event: Event) -> dict[str, Any]:
    """What must come back with the answer, so that it can be joined to the case and the model."""
    context = {
        "case_id": event.case_id,
        "study_id": event.study_id,
        "patient_id": event.patient_id,
        "generator_base": event.generator.base,
        "generator_adapter": event.generator.adapter,
    }
    return {name: value for name, value in context.items() if value is not None}
