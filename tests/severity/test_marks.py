"""The marks of exports are read as what they stand for, and places lead back to the report."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from negalign_train.severity.pricing.score import score_report
from negalign_train.severity.reading.facts import extract_facts
from negalign_train.severity.text.layout import lay_out
from negalign_train.severity.text.sentences import sentences


@pytest.mark.parametrize(
    ("plain", "marked"),
    [
        ("Opacity < 5 mm in the right upper lobe.", "Opacity &lt; 5 mm in the right upper lobe."),
        ("Small left effusion and edema.", "Small left effusion &amp; edema."),
        ("Small left effusion and mild cardiomegaly.",
         "Small left effusion \\T\\ mild cardiomegaly."),
        ("Small left effusion. No pneumothorax.", "Small left effusion\u2026 No pneumothorax."),
        ("5 mm nodule in the left lung.", "5\u00a0mm nodule in the left\u202flung."),
        ("Air-space disease.", "Air\u2011space disease."),
        ("2 x 3 cm mass.", "2\u00d73 cm mass."),
        ("Increased right effusion.", "\u2191 right effusion."),
        ("Decreased right effusion.", "\u2193 right effusion."),
        ("Pulmonary infiltrate.", "Pulmonary in\ufb01ltrate."),
        ("No pneumothorax.", "No pneumo-\nthorax."),
        ("No pneumothorax.", "No pneumo\u00adthorax."),
        ("Findings: Small left effusion. Impression: Small left effusion.",
         "## Findings\n\n- Small left\n  effusion\n\n**Impression:** Small left effusion."),
        ("Findings: No pneumothorax. Impression: Small left effusion.",
         "<h3>Findings</h3><p>No pneumothorax.</p><b>Impression</b><br>Small left effusion.<br>"),
        ("No pneumothorax. Small left effusion.",
         "| Finding | Status |\n|---|---|\n| Pneumothorax | None |\n| Effusion | small left |"),
        ("No pneumothorax. Enlarged heart.",
         "<table><tr><td>Pneumothorax</td><td>No</td></tr><tr><td>Heart</td><td>enlarged</td></tr>"
         "</table>"),
        ("No pneumothorax. Left effusion.", "\u2022 No pneumothorax \u2022 Left effusion"),
        ("Heart enlarged. No pneumothorax. Lungs clear.",
         "Heart \u2013 enlarged. Pneumothorax \u2013 none. Lungs \u2014 clear."),
        ("Nodule of 5 mm in the left lung. No effusion.",
         "Nodule of ~5 mm in the~left lung.~No effusion."),
        ("No effusion.\nNo pneumothorax.", "No effusion.\\X0D\\No pneumothorax."),
    ],
)  # fmt: skip
def test_a_mark_changes_nothing(plain: str, marked: str) -> None:
    score = score_report(plain, marked)
    assert score is not None
    assert score.evidence == ()
    back = score_report(marked, plain)
    assert back is not None
    assert back.evidence == ()


@pytest.mark.parametrize("tag", ["<think>", "<unk>", "<image>", "<|im_start|>", "</s>"])
def test_a_tag_that_is_no_html_stays_a_slip(tag: str) -> None:
    kinds = [slip.kind for slip in extract_facts(f"{tag} Small left effusion.").slips]
    assert kinds == ["placeholder"]


def test_places_lead_back_to_the_report() -> None:
    text = "<p>No&nbsp;pneumo-<br>thorax &amp; a <b>left pleural</b>\\.br\\effusion.</p>"
    words = {s.finding: text[s.span[0] : s.span[1]] for s in extract_facts(text).statements}
    assert words == {
        "pneumothorax": "pneumo-<br>thorax",
        "pleural_effusion": "pleural</b>\\.br\\effusion",
    }
    first = sentences(text)[0]
    assert text[first.start : first.end].startswith("No&nbsp;pneumo")


def test_a_misspelt_word_is_shown_where_it_stands() -> None:
    text = "&lt;b&gt;Small&lt;/b&gt; left effusoin."
    assert [(s.kind, text[slice(*s.span)]) for s in extract_facts(text).slips] == [
        ("misspelt", "effusoin")
    ]


_PIECES = st.sampled_from(
    ["<p>", "</p>", "<br>", "&lt;", "&amp;", "&#x2026;", "~", "\\.br\\", "\\T\\", "\\X0D0A\\",
     "|", "*", "\u2191", "\u2026", "\u00ad", "\r\n", "\n", " - ", "-", "left effusion",
     "Lungs:", "1.", "_", "\t", "<"]
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.lists(_PIECES, max_size=60).map("".join))
def test_every_place_lies_in_the_report(text: str) -> None:
    laid_out = lay_out(text)
    for at in range(len(laid_out.text)):
        start, end = laid_out.span(at, at + 1)
        assert 0 <= start <= end <= len(text)
    facts = extract_facts(text)
    assert all(0 <= a <= b <= len(text) for a, b in (s.span for s in facts.statements))
    for statement in facts.statements:
        if statement.finding == "pleural_effusion":
            assert "effusion" in text[slice(*statement.span)]
