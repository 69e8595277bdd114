"""Judges of one candidate report: rules, NLI, a fine-tuned classifier, the generator, ensembles.

All answer the same question with the same record (``base.Judge``). Only ``rules`` is imported
without torch; the others are imported where one of them is asked for.
"""
