"""`scripts/attack_audit.py`: every edit is restored, and one that went unseen is listed."""

import random
from pathlib import Path

import attack_audit
import pytest

from negalign_train.feedback.store import FeedbackStore
from negalign_train.storage.database import open_database
from negalign_train.storage.workspace import Workspace


@pytest.fixture
def root(tmp_path, make_event):
    place = Workspace(tmp_path / "workspace")
    engine = open_database(place.database_url)
    FeedbackStore(engine).append([make_event()], source="test")
    engine.dispose()
    for name in ("cycles/c0001/plan.json", "serving/a/copy.json"):
        (place.root / name).parent.mkdir(parents=True)
        (place.root / name).write_text('{"seed": 1}')
    return place.root


def contents(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_an_edit_that_nothing_names_is_listed_and_everything_is_restored(root, monkeypatch):
    before, seen = contents(root), []

    def blind_audit(place: Path) -> list[str]:
        seen.append(contents(place) != before)
        return []

    monkeypatch.setattr(attack_audit, "problems", blind_audit)
    made, unseen = attack_audit.attack(root, 40, random.Random(3))
    assert seen == [True] * 40
    assert contents(root) == before
    assert (sum(made.values()), len(unseen)) == (40, 40)
    assert made[attack_audit.FIELD_EDIT] == 20
    assert set(made) == {attack_audit.FIELD_EDIT, *attack_audit.FILE_EDITS}


def test_a_file_counts_as_named_only_by_its_own_path_and_copies_are_left_out(root, monkeypatch):
    assert attack_audit.editable_files(root) == [root / "cycles" / "c0001" / "plan.json"]
    for answer, named in (("something is wrong", False), (f"{root}/cycles/c0001/plan.json", True)):
        monkeypatch.setattr(attack_audit, "problems", lambda _, answer=answer: [answer])
        assert attack_audit.attack_file(root, "end cut off", random.Random(1)) == (
            "cycles/c0001/plan.json, end cut off", named,
        )  # fmt: skip
