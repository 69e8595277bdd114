"""The reference pages of ``docs/``, written from the code: ``make docs``. A test compares them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from negalign_train.feedback.reference import (
    ANNOTATED,
    FIELDS,
    GRADE_RULES,
    QUARANTINE_REASONS,
    EventField,
)
from negalign_train.recipe.cycle import CycleRecipe
from negalign_train.recipe.keys import Key, RecipeSection, recipe_sections, trainer_section

_RECIPE_HEAD = """\
# Recipe keys

Written by `negalign recipe keys --markdown` from the types that read a recipe; do not edit it
(`make docs` writes it again).

A recipe is one YAML file: `negalign init --model M` writes one for your model and machine, and
`recipes/` holds examples. An unknown key is an error, and so is a value out of bounds. Write a
number with a dot before its exponent: YAML reads `2e-5` as text, `2.0e-5` as a number.
A key without a default must be given. Paths are looked for from the working directory.
"""
_FEEDBACK_HEAD = """\
# Feedback events: `negalign.feedback/1`

Written by `negalign feedback schema --markdown` from the code that reads events; do not edit it
(`make docs` writes it again). `negalign feedback schema` prints the same as a JSON Schema.

A feedback log is a text file in UTF-8 with one JSON object per line (JSON Lines). Each object is
one *event*: a reader graded one report. `data/sample_feedback.jsonl` is a whole log.

```bash
negalign feedback import log.jsonl --workspace my-workspace
negalign feedback quarantine --workspace my-workspace
```

`event_id` and `revision` identify an event. Importing a file twice adds nothing. To correct an
event, import it again with a higher `revision`: the newest counts, and the history stays.
"""


def recipe_page() -> str:
    """``docs/recipe.md``."""
    parts = [*recipe_sections(CycleRecipe), trainer_section()]
    return "\n".join([_RECIPE_HEAD, *(_recipe_section(part) for part in parts)])


def _recipe_section(section: RecipeSection) -> str:
    title = f"`{section.path}`" if section.path else "The file"
    rows = [_recipe_row(key) for key in section.keys]
    head = ["| Key | Takes | Default | Meaning |", "|---|---|---|---|"]
    return "\n".join([f"## {title}", "", _markdown(section.meaning), "", *head, *rows, ""])


def _recipe_row(key: Key) -> str:
    default = f"`{key.default}`" if key.default else ""
    if key.default == "its defaults":
        default = key.default
    cells = (f"`{key.name}`", key.takes, default, _markdown(key.meaning))
    return _row(cells)


def feedback_page() -> str:
    """``docs/feedback.md``."""
    parts = [_FEEDBACK_HEAD, "## An example\n", *_example(), "## Fields\n"]
    parts += [_row(("Field", "Required", "Type", "Meaning")), "|---|---|---|---|"]
    parts += [_field_row(field) for field in FIELDS]
    parts += ["\nAn unknown key is refused, so that a misspelt one is not lost.\n", "## Rules\n"]
    parts += [f"- {rule}" for rule in GRADE_RULES]
    parts += ["\n## Reasons of quarantine\n"]
    parts += [
        "A line that cannot enter the log is set aside with its file, line, byte and a reason, and "
        "the others are imported.\n"
    ]
    parts += [_row(("Reason", "What is wrong")), "|---|---|"]
    parts += [_row((f"`{code}`", meaning)) for code, meaning in sorted(QUARANTINE_REASONS.items())]
    return "\n".join(parts) + "\n"


def _example() -> list[str]:
    """The annotated event: the object, then a line for each remark."""
    event = {name: value for name, value, _ in ANNOTATED}
    remarks = [f"- `{name}`: {remark}" for name, _, remark in ANNOTATED if remark]
    text = json.dumps(event, indent=2, ensure_ascii=False)
    text = re.sub(r"\[\s+(\d+),\s+(\d+)\s+\]", r"[\1, \2]", text)  # a span on one line
    return ["```json", text, "```\n", *remarks, ""]


def _field_row(field: EventField) -> str:
    required = "yes" if field.required else "no"
    return _row((f"`{field.path}`", required, field.takes, field.meaning))


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _markdown(docstring: str) -> str:
    """A docstring's double backticks as Markdown's single ones."""
    return docstring.replace("``", "`")
