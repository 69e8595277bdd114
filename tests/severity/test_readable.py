"""Reports that the lexicon of English chest reports cannot read are not scored, and say why."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import yaml

from negalign_train.severity.pricing.score import UNSCORABLE, explain_unscorable, score_report
from negalign_train.severity.reading.facts import extract_facts
from negalign_train.vocabulary.resources import data_path
from tests.cases.test_openi import OPENI, needs_openi

CHEST = "Heart size is normal. The lungs are clear. No pneumothorax."
OTHER_LANGUAGES = [
    "Kein Pleuraerguss. Großer Pneumothorax rechts.",
    "Herz nicht vergroessert. Kein Erguss. Kein Pneumothorax.",
    "Pneumothorax links. Pleuraerguss rechts.",
    "Pas d'épanchement pleural. Pneumothorax droit.",
    "Absence de pneumothorax. Silhouette cardiaque normale.",
    "Opacité du lobe inférieur gauche. Cardiomégalie.",
    "Silueta cardiaca normal. Sin derrame pleural ni neumotorax.",
    "Cardiomegalia. Atelectasia basal izquierda.",
    "Non versamento pleurico. Pneumotorace destro.",
    "Sem derrame pleural. Pneumotórax à direita.",
    "Geen pleuravocht. Pneumothorax rechts.",
    "Ingen pneumothorax. Ingen pleuravätska. Hjärtat är normalstort.",
    "Ingen pneumothorax. Hjertet er ikke forstørret.",
    "Bez odmy opłucnowej. Serce niepowiększone. Płyn w prawej jamie opłucnej.",
    "Bez pneumotoraxu. Srdce není zvětšeno. Fluidothorax vpravo.",
    "Fără pneumotorax. Cord normal. Revărsat pleural drept.",
    "Pnömotoraks izlenmedi. Kalp boyutu normaldir. Sağda plevral efüzyon mevcut.",
    "Ei pneumothoraxia. Sydän on normaalikokoinen. Oikealla pleuraeffuusio.",
    "Pneumothorax nem látható. A szív nem nagyobb.",
    "Пневмоторакса нет. Pneumothorax справа.",
]
OTHER_EXAMINATIONS = [
    "No acute intracranial hemorrhage. No midline shift. Ventricles are normal in size.",
    "CT HEAD WITHOUT CONTRAST. No acute abnormality. No fracture.",
    "CT head: No hemorrhage, mass, or edema.",
    "Medial meniscus tear. Small joint effusion.",
    "MRI of the left knee. There is a moderate effusion and a mass.",
    "Right knee. No fracture or effusion.",
    "Left wrist: nondisplaced fracture of the distal radius.",
    "Examination: MRI lumbar spine\nFindings: No fracture. Degenerative change. No mass.",
    "Lumbar spine: disc bulge at L4-L5. No fracture.",
    "The liver, spleen and pancreas are normal. No ascites or hydronephrosis. The kidneys and "
    "adrenals are normal. The lung bases are clear. Heart size is normal.",
    "CT abdomen and pelvis. Lung bases are clear. Liver normal. No free air.",
]
CLEAR = "Heart size is normal. Lungs are clear."
MIXED_LANGUAGES = [
    f"{CLEAR} Pleuraerguss links. Kein Pneumothorax.",
    f"{CLEAR} Kein Pleuraerguss. Pneumothorax links.",
    f"{CLEAR} No effusion, kein Pneumothorax.",
    "Cor o.B. Kein Pneumothorax.",
    "Cor o.B. Pneumothorax re.",
    "Brak pneumothorax. Cardiomegalia.",
    "Ausencia de pneumothorax. Cardiomegalia.",
    "Nega pneumothorax. Cardiomegalia.",
    f"{CLEAR} Pas de pneumothorax.",
    f"{CLEAR} Absence d'effusion.",
    f"{CLEAR} Sin pneumothorax.",
    f"{CLEAR} Senza pneumothorax.",
    f"{CLEAR} Sem pneumothorax.",
    f"{CLEAR} Geen pneumothorax.",
    f"{CLEAR} Ingen pneumothorax.",
    f"{CLEAR} Ikke pneumothorax.",
    f"{CLEAR} Pneumothorax yok.",
]
OTHER_FILMS = [
    "No acute fracture. Mild soft tissue swelling. Joint spaces are preserved.",
    "Nonobstructive bowel gas pattern. No renal calculi.",
    "Vertebral body heights are maintained. Disc spaces are preserved.",
    "No dislocation. Glenohumeral joint is intact.",
]
CHEST_REPORTS = [
    "Nonobstructive bowel gas pattern. Lungs are clear.",
    "No pneumothorax. Shoulder dislocation. Disc spaces are narrowed.",
    "OG tube in the stomach. PAs enlarged. Links to priors are not available.",
    "Situs solitus. Absence of pneumothorax.",
    "Clinical indication: headache. The lungs are clear. No pneumothorax.",
    "Comparison: CT abdomen. Findings: No acute disease.",
    "Indication: CT head showed stroke. Findings: Mild edema, small left effusion.",
    "Small nodule in the left upper lobe. Recommend CT of the abdomen for further evaluation.",
    "No pneumothorax. Upper abdomen unremarkable. Liver edge normal.",
    "Degenerative changes of the thoracic spine. Lungs clear.",
    "No rib fracture. Cervical spine fusion hardware. Lungs clear.",
    "CT chest, abdomen and pelvis: Lungs clear. Liver and spleen normal. Heart normal.",
    "Right hip prosthesis partly seen. Clear lungs.",
    "Free air under the diaphragm.",
    "Lungs clear.",
    "Normal.",
    "CXR: no acute process",
    "PTX L apical. ETT OK.",
    "Cardiomegaly. No failure.",
    "Mild scoliosis.",
]


@pytest.mark.parametrize("text", [*OTHER_LANGUAGES, *MIXED_LANGUAGES])
def test_another_language_is_not_scored(text: str) -> None:
    assert explain_unscorable(CHEST, text) == "other_language"
    assert explain_unscorable(text, CHEST) == "other_language"
    assert score_report(text, text) is None


@pytest.mark.parametrize("text", [*OTHER_EXAMINATIONS, *OTHER_FILMS])
def test_another_examination_is_not_scored(text: str) -> None:
    assert explain_unscorable(CHEST, text) == "other_examination"
    assert explain_unscorable(text, CHEST) == "other_examination"
    assert score_report(text, text) is None


@pytest.mark.parametrize("text", CHEST_REPORTS)
def test_a_chest_report_stays_scorable_whatever_it_mentions(text: str) -> None:
    assert explain_unscorable(CHEST, text) is None
    assert extract_facts(text).unreadable is None


def test_both_reasons_are_explained() -> None:
    assert {"other_language", "other_examination"} <= UNSCORABLE.keys()


def test_the_lists_do_not_overlap() -> None:
    languages = yaml.safe_load(data_path("languages.yaml").read_text(encoding="utf-8"))
    words = [word for some in languages["other"].values() for word in some]
    assert all(isinstance(word, str) for word in words)
    assert not set(words) & set(languages["english"])
    decisive = [word for some in languages["decisive"].values() for word in some]
    assert all(isinstance(word, str) for word in decisive)
    assert not set(decisive) & set(languages["english"])
    table = yaml.safe_load(data_path("examinations.yaml").read_text(encoding="utf-8"))
    assert not {p for some in table["other"].values() for p in some} & set(table["chest"])


def test_the_english_pairs_of_the_tests_are_readable() -> None:
    """Their ids are read along, and do no harm."""
    texts = [
        text
        for path in sorted((Path(__file__).parents[1] / "data").glob("language_pairs_*.yaml"))
        for text in _strings(yaml.safe_load(path.read_text(encoding="utf-8")))
    ]
    assert len(texts) > 1000
    assert [text for text in texts if extract_facts(text).unreadable is not None] == []


def _strings(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for part in parts for text in _strings(part)]


@needs_openi
def test_no_report_of_openi_that_says_something_is_refused() -> None:
    with OPENI.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    asides = "Indication: {indication}\nComparison: {comparison}\n"
    whole = "Findings: {findings}\nImpression: {impression}"
    texts = [
        form.format(**row)
        for row in rows
        for form in ("{findings}", "{impression}", whole, asides + whole)
    ]
    read = [facts for text in texts if (facts := extract_facts(text)).statements]
    assert len(read) > 11_000
    assert [facts.unreadable for facts in read if facts.unreadable is not None] == []
