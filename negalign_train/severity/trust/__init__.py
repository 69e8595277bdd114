"""How far a judge can be believed: agreement, calibration, intervals."""
