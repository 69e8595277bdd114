"""Reports as Label Studio tasks with pre-annotations, and the labelling configuration they fit.

``importers.label_studio`` reads what comes back with its own mapping.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args
from xml.sax.saxutils import quoteattr

from negalign_train.feedback.exporters.tasks import shown_prompt, task_context
from negalign_train.vocabulary.records import EditType, Event, Grade
from negalign_train.vocabulary.taxonomy import taxonomy

_TEXT = "completion"


def labelling_config() -> str:
    """The labelling interface: grade, marked errors with severity and remark, corrected report."""
    labels = "".join(
        f"    <Label value={quoteattr(each.name)} hotkey={quoteattr(each.id[1:])} "
        f"hint={quoteattr(each.definition)}/>\n"
        for each in taxonomy()
    )
    return (
        "<View>\n"
        '  <Header value="Prompt"/>\n  <Text name="prompt" value="$prompt"/>\n'
        '  <Header value="Report"/>\n'
        f'  <Labels name="errors" toName="{_TEXT}">\n{labels}  </Labels>\n'
        f'  <Text name="{_TEXT}" value="${_TEXT}"/>\n'
        f'  <Number name="severity" toName="{_TEXT}" perRegion="true" min="0" max="1" '
        'step="0.05"/>\n'
        f'  <TextArea name="comment" toName="{_TEXT}" perRegion="true" maxSubmissions="1"/>\n'
        f"{_choices('grade', get_args(Grade), required=True)}"
        '  <Header value="Corrected report, where anything changes"/>\n'
        f'  <TextArea name="edited" toName="{_TEXT}" rows="8" maxSubmissions="1" '
        'editable="true"/>\n'
        f"{_choices('edit_type', get_args(EditType), required=False)}"
        "</View>\n"
    )


def _choices(name: str, values: tuple[str, ...], *, required: bool) -> str:
    choices = "".join(f"    <Choice value={quoteattr(value)}/>\n" for value in values)
    needed = 'required="true"' if required else 'required="false"'
    return (
        f'  <Choices name="{name}" toName="{_TEXT}" choice="single" {needed}>\n{choices}'
        "  </Choices>\n"
    )


def label_studio_task(event: Event, *, with_answer: bool) -> dict[str, Any]:
    """A task on the event's report; with the reader's answer as a pre-annotation."""
    data = {"prompt": shown_prompt(event.prompt), _TEXT: event.completion} | task_context(event)
    if not isinstance(event.prompt, str):
        data["messages"] = [dict(message) for message in event.prompt]
    task: dict[str, Any] = {"data": data}
    if with_answer:
        task["predictions"] = [{"model_version": event.source.system, "result": _results(event)}]
    return task


def _results(event: Event) -> list[dict[str, Any]]:
    results = [_result("grade", "choices", {"choices": [event.grade]})]
    for number, mark in enumerate(event.errors):
        if mark.span is None:
            continue  # Label Studio has no label without a place
        start, end = mark.span
        region = {"start": start, "end": end, "text": event.completion[start:end]}
        name = f"error-{number}"
        results.append(
            _result("errors", "labels", region | {"labels": [mark.category]}, region_id=name)
        )
        if mark.severity is not None:
            value = region | {"number": mark.severity}
            results.append(_result("severity", "number", value, region_id=name))
        if mark.comment is not None:
            value = region | {"text": [mark.comment]}
            results.append(_result("comment", "textarea", value, region_id=name))
    if event.edited is not None:
        results.append(_result("edited", "textarea", {"text": [event.edited]}))
    if event.edit_type is not None:
        results.append(_result("edit_type", "choices", {"choices": [event.edit_type]}))
    return results


def _result(
    control: str, kind: str, value: Mapping[str, Any], region_id: str | None = None
) -> dict[str, Any]:
    return {
        "id": region_id or control,
        "from_name": control,
        "to_name": _TEXT,
        "type": kind,
        "value": dict(value),
    }
