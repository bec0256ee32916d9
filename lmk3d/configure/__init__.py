"""From a data set to a bundle of its own: a plan, written as configurations one can edit, and the training of it."""

from lmk3d.configure.files import bundle_files, write_bundle
from lmk3d.configure.plan import LevelPlan, Plan, plan_for
from lmk3d.configure.run import calibrate_bundle, train_dataset

__all__ = ["LevelPlan", "Plan", "bundle_files", "calibrate_bundle", "plan_for", "train_dataset", "write_bundle"]
