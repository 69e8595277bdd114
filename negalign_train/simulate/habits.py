"""The careless writer whose reports the embedded generator learns from.

Each habit has a trigger in the ground truth, so that the generator learns *systematic* errors: only
those can readers teach it to drop. The habits cover all nine categories. They alter the findings
that a report is written from (R1, R2, R4 to R8), or its text (R3, R9).
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from negalign_train.cases.compose import Sentence, compose, join_report
from negalign_train.cases.grammar import grammar
from negalign_train.vocabulary.records import Case, Finding


@dataclass(frozen=True)
class Habits:
    """Probability of each habit where its trigger is present."""

    over_read_artefact: float = 0.5  # R4: a skin fold becomes a pneumothorax
    over_call_opacity: float = 0.4  # R4: an opacity becomes pneumonia
    miss: float = 0.4  # R2: nodules, rib fractures, small effusions go unseen
    invent_edema: float = 0.45  # R1: cardiomegaly brings an edema along
    left_for_right: float = 0.35  # R5: right-sided lung and pleural findings
    understate: float = 0.4  # R6: severe becomes mild
    overstate: float = 0.2  # R6: mild becomes moderate
    usual_position: float = 0.5  # R7: a misplaced device is reported in its usual place
    invent_tube: float = 0.1  # R7: portable film, no device: an endotracheal tube
    call_stable: float = 0.4  # R8: worse and improved become stable
    invent_prior: float = 0.3  # R8: "unchanged" without a prior study
    normal_impression: float = 0.12  # R3: the impression denies the findings
    repeat: float = 0.04  # R9: any sentence
    repeat_line: float = 0.4  # R9: a central line's sentence, as a dictation macro would
    misspell: float = 0.06  # R9
    break_off: float = 0.03  # R9

    def scaled(self, factor: float) -> Habits:
        """Every probability times ``factor``, capped at 0.95."""
        return Habits(**{name: min(0.95, value * factor) for name, value in vars(self).items()})


_MISSED = ("nodule", "rib_fracture", "atelectasis", "hiatal_hernia", "pneumothorax")


def _alter(finding: Finding, case: Case, habits: Habits, rng: random.Random) -> list[Finding]:
    """One finding as the careless writer reports it: unchanged, altered, replaced or left out."""
    tables = grammar()
    if finding.name in tables.artefacts:
        artefact = tables.artefacts[finding.name]
        if rng.random() < habits.over_read_artefact:
            return [_mimicked(artefact.mimics, finding.side, rng)]
        return [finding]
    if finding.name in tables.devices:
        usual = next(iter(tables.devices[finding.name].positions), None)
        misplaced = finding.location not in (usual, None)
        if misplaced and rng.random() < habits.usual_position:
            return [replace(finding, location=usual)]
        return [finding]
    if finding.name in _MISSED and rng.random() < habits.miss:
        return []
    if finding.name == "opacity" and finding.side != "bilateral":
        places = tables.findings["pneumonia"].places
        if finding.location in places and rng.random() < habits.over_call_opacity:
            finding = replace(finding, name="pneumonia")
    return [_alter_attributes(finding, case, habits, rng)]


def _mimicked(name: str, side: str | None, rng: random.Random) -> Finding:
    tables = grammar()
    if name in tables.devices:
        return Finding(name)
    phrases = tables.findings[name]
    side = side if side in phrases.sides else (rng.choice(phrases.sides) if phrases.sides else None)
    places = [p for p in phrases.places if p is None or tables.places[p].only in (None, side)]
    degree = "mild" if phrases.degree_scale else None
    return Finding(name, side=side, location=places[0] if places else None, degree=degree)


def _alter_attributes(finding: Finding, case: Case, habits: Habits, rng: random.Random) -> Finding:
    tables = grammar()
    phrases = tables.findings[finding.name]
    fits_left = finding.location is None or tables.places[finding.location].only is None
    lateral = finding.side == "right" and fits_left and phrases.region in ("lung", "pleura")
    if lateral and rng.random() < habits.left_for_right:
        finding = replace(finding, side="left")
    if finding.degree == "severe" and rng.random() < habits.understate:
        finding = replace(finding, degree="mild")
    elif finding.degree == "mild" and rng.random() < habits.overstate:
        finding = replace(finding, degree="moderate")
    if finding.change in ("worse", "improved") and rng.random() < habits.call_stable:
        finding = replace(finding, change="stable")
    if not case.has_prior and phrases.acute and rng.random() < habits.invent_prior:
        finding = replace(finding, change="stable")
    return finding


def _altered_findings(case: Case, habits: Habits, rng: random.Random) -> list[Finding]:
    tables = grammar()
    findings = [new for old in case.findings for new in _alter(old, case, habits, rng)]
    names = {finding.name for finding in findings}
    lung_clear = not names & {"pulmonary_edema", "vascular_congestion", "interstitial_opacities"}
    if "cardiomegaly" in names and lung_clear and rng.random() < habits.invent_edema:
        findings.append(Finding("pulmonary_edema", degree="mild"))
    portable = "portable" in str(case.prompt)
    if portable and not names & set(tables.devices) and rng.random() < habits.invent_tube:
        findings.append(Finding("endotracheal_tube", location="above the carina"))
    return findings


def _misspelt(text: str, rng: random.Random) -> str:
    """Two neighbouring letters of one longer word swapped."""
    words = text.split(" ")
    long = [i for i, word in enumerate(words) if len(word) > 6 and word.isalpha()]
    if not long:
        return text
    at = rng.choice(long)
    word = words[at]
    cut = rng.randrange(2, len(word) - 2)
    words[at] = word[:cut] + word[cut + 1] + word[cut] + word[cut + 2 :]
    return " ".join(words)


def _repeated(sentences: list[Sentence], habits: Habits, rng: random.Random) -> int | None:
    """The index of the sentence that is said twice, if one is."""
    lines = [i for i, s in enumerate(sentences) if " line " in s.text or " catheter " in s.text]
    if lines and rng.random() < habits.repeat_line:
        return lines[0]
    if rng.random() < habits.repeat:
        return rng.randrange(len([s for s in sentences if s.section == "findings"]))
    return None


def _alter_text(sentences: list[Sentence], habits: Habits, rng: random.Random) -> str:
    tables = grammar()
    acute = any(s.section == "impression" and s.region != "summary" for s in sentences)
    if acute and rng.random() < habits.normal_impression:
        sentences = [s for s in sentences if s.section == "findings"]
        denial = rng.choice(tables.impression_normals)
        sentences.append(Sentence("impression", "summary", denial))
    at = _repeated(sentences, habits, rng)
    if at is not None:
        sentences.insert(at + 1, sentences[at])
    if rng.random() < habits.misspell:
        at = rng.randrange(len(sentences))
        sentences[at] = replace(sentences[at], text=_misspelt(sentences[at].text, rng))
    text = join_report(sentences)
    if rng.random() < habits.break_off:
        words = text.split(" ")
        text = " ".join(words[: -rng.randrange(2, 5)]).rstrip(".")
    return text


def careless_report(case: Case, habits: Habits, rng: random.Random) -> str:
    """A report on ``case`` with the writer's habits in it."""
    return _alter_text(compose(_altered_findings(case, habits, rng), rng), habits, rng)
