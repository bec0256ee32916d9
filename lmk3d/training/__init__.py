"""Training both stages in one run: objective, evaluator, checkpoints, schedule, calibration, the folder of a run."""

from lmk3d.training.calibration import calibrate
from lmk3d.training.checkpoints import Resume, is_finished
from lmk3d.training.folders import (
    OWN_ENTRIES,
    agreed_inference,
    begin_run,
    bundle_root,
    load_run,
    one_line_errors,
    run_folder,
)
from lmk3d.training.loop import (
    CascadeObjective,
    ClipGradients,
    DetectorEvaluator,
    datalist,
    first_stage_alone,
    prepare_batch,
    total_loss,
)
from lmk3d.training.progress import ProgressLine, note_undertrained, run_training
from lmk3d.training.schedule import TimeLimit, cosine_decay

__all__ = [
    "OWN_ENTRIES",
    "CascadeObjective",
    "ClipGradients",
    "DetectorEvaluator",
    "ProgressLine",
    "Resume",
    "TimeLimit",
    "agreed_inference",
    "begin_run",
    "bundle_root",
    "calibrate",
    "cosine_decay",
    "datalist",
    "first_stage_alone",
    "is_finished",
    "load_run",
    "note_undertrained",
    "one_line_errors",
    "prepare_batch",
    "run_folder",
    "run_training",
    "total_loss",
]
