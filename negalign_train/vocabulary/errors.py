"""Every error this package raises on purpose.

NegalignError
├── RecipeError        a recipe, a candidate file or a command line says something impossible
│   └── UsageError     options that do not go together; the command line exits 2
├── DataError          cases, taxonomy or lexicon files that cannot be read
├── FeedbackError      the feedback log or an event is wrong
├── PreferenceError    pairs or labels cannot be built
├── TrainingError      a run cannot start, or was stopped by a guard
├── RegistryError      an adapter, its manifest or an alias is wrong
├── GateError          an evaluation or a gate cannot be carried out
└── CycleError         a cycle cannot go on

Each message says what, where, what was expected and what to do, and never holds report text.
"""


class NegalignError(Exception):
    """Base of all errors raised on purpose; the command line prints its message and exits with
    ``exit_code``.
    """

    exit_code = 1


class RecipeError(NegalignError):
    """A recipe, a candidate file or a command line says something impossible."""


class UsageError(RecipeError):
    """Options of a command that do not go together, or are lacking."""

    exit_code = 2


class DataError(NegalignError):
    """Cases, taxonomy or lexicon files cannot be read."""


class FeedbackError(NegalignError):
    """The feedback log or one of its events is wrong."""


class PreferenceError(NegalignError):
    """Preference pairs or unpaired examples cannot be built."""


class TrainingError(NegalignError):
    """A training run cannot start, or was stopped by one of its guards."""


class RegistryError(NegalignError):
    """An adapter, its manifest or an alias is missing or wrong."""


class GateError(NegalignError):
    """An evaluation or a gate decision cannot be carried out."""


class CycleError(NegalignError):
    """A cycle cannot start or go on."""
