"""Settings sought by trials: a space of keys, a study that several processes share, and the best one as a sweep."""

from leaderboard.record import CRITERIA

LABELLED = ("validation_ap", "validation_auroc")  # objectives that see labels of validation images
OBJECTIVES = (*CRITERIA, *LABELLED)
STUDY_FILE, BEST_FILE = "study.log", "best.yaml"  # in the output folder
SAMPLERS = ("tpe", "cmaes", "random")
