"""The words of chest reports: phrases and their meanings, spellings, words nobody knows."""
