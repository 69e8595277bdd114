"""``negalign recipe``: what a recipe may say."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from negalign_train.commands.reference_pages import recipe_page
from negalign_train.commands.support.output import JsonOption, print_json, print_table
from negalign_train.recipe.cycle import CycleRecipe
from negalign_train.recipe.keys import recipe_sections, trainer_section
from negalign_train.vocabulary.errors import RecipeError, UsageError

app = typer.Typer(help="Recipes: every key with its bounds and default.", no_args_is_help=True)


@app.command()
def keys(
    section: Annotated[
        str | None, typer.Argument(help="Only this section, such as gate or candidates.lora.")
    ] = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the page docs/recipe.md.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List the keys of a recipe: what each takes, its default, and what it does.

    With **--json**, the JSON Schema of a recipe.

    Example: `negalign recipe keys gate`
    """
    if sum((section is not None, markdown, as_json)) > 1:
        raise UsageError("give one of a section, --markdown and --json")
    if markdown:
        typer.echo(recipe_page(), nl=False)
        return
    if as_json:
        print_json(CycleRecipe.model_json_schema(by_alias=True))
        return
    every = (*recipe_sections(CycleRecipe), trainer_section())
    parts = {part.path.replace("[]", ""): part for part in every}
    if section is not None and section.replace("[]", "") not in parts:
        raise RecipeError(
            f"a recipe has no section {section!r}; there are {', '.join(filter(None, parts))}"
        )
    table = Table("Key", "Takes", "Default", "Meaning")
    for path, part in parts.items():
        if section is not None and path != section.replace("[]", ""):
            continue
        for key in part.keys:
            name = f"{part.path}.{key.name}".lstrip(".")
            default = "must be given" if key.default is None else key.default
            table.add_row(name, key.takes, default, key.meaning.replace("``", ""))
    print_table(table)
