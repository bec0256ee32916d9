"""From a data set to a trained and measured bundle, within a time."""

from __future__ import annotations

import json
import math
import time
from functools import partial
from pathlib import Path
from pydoc import locate
from typing import TYPE_CHECKING, Any

from monai.bundle import ComponentLocator, ConfigParser

from lmk3d.calibration import calibration_file
from lmk3d.components import check, hint, read_config
from lmk3d.configure.files import bundle_files, write_bundle
from lmk3d.configure.methods import with_method
from lmk3d.configure.plan import plan_for
from lmk3d.errors import InputError
from lmk3d.evaluation import evaluate
from lmk3d.geometry import Grid, Volume
from lmk3d.inference import LandmarkDetector
from lmk3d.io import atomic_path, check_dataset, read_dataset
from lmk3d.report import undertrained
from lmk3d.terminal import duration, say
from lmk3d.training import (
    OWN_ENTRIES,
    TimeLimit,
    agreed_inference,
    calibrate,
    datalist,
    is_finished,
    run_training,
)
from lmk3d.weights import find_device

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lmk3d.training import Resume

__all__ = ["calibrate_bundle", "parsed", "train_dataset"]

_ABOVE_ZERO = {"epochs", "validate_every", "spacing_mm", "learning_rate", "batch_size", "max_epochs"}
_NEVER = 1_000_000  # epochs that no training reaches
# Of a budget what is planned, so that it holds on a machine that gets busier.
_SURE = 0.95
# Seconds that the evaluation's tables and pictures take on a slow core, and the training that is worth a validation.
_REPORT_S, _LEAST_TRAINING_S = 15.0, 60.0
_CALIBRATION = 0.1  # of a budget, what the training cases of a calibration may take
_WORTH = 1.2  # of a validation, what a training takes at least


def train_dataset(
    dataset: Path,
    output: Path,
    *,
    method: str | None = None,
    budget_s: float | None = None,
    device: str | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> None:
    """Write a bundle for a data set, train it and evaluate it; a folder that holds one already is trained on.

    Args:
        dataset: the data set's JSON.
        method: "cascade" (which None means for a new bundle), or one of ``lmk3d.configure.methods``.
        output: folder of the bundle; its train.json, once there, is taken as it stands, edits included.
        budget_s: bound of the whole run in seconds, which decides how many epochs there are; see ``TimeLimit``.
        device: "cpu", "cuda", ...; the first GPU where there is one when None.
        overrides: values of train.json by id, such as {"epochs": 50}; they are written into it, and into inference.json
            where it has them, too.
    Raises:
        InputError: if the data set has problems, train.json a typo, or the budget is too short for a validation and the
            evaluation; if the bundle that is there was made for other landmarks, begun on another data set or with
            another method, or is being trained.
    """
    begun = time.monotonic()
    if output.exists() and not output.is_dir():
        raise InputError(f"{output}: is a file; give the folder of a bundle, or of one to be made")
    here, changes = {"bundle_root": str(output.resolve()), "dataset": str(dataset.resolve())}, dict(overrides or {})
    if device is not None:
        here["device"] = f"$torch.device('{find_device(device)}')"
    if not (output / "train.json").is_file():
        _begin_bundle(dataset, output, method, changes)
    else:
        _check_fit(output, dataset, method)
    last = output / "models" / "last.pt"
    begins, timed = not last.is_file(), budget_s is not None and ("epochs" in changes or not is_finished(last))
    parser = parsed(output, here | changes | (_by_time(changes) if timed else {}))
    made = partial(_made, parser, output / "train.json")
    made("initialize")  # seeds, before the first weight is drawn
    trainer, resume = made("train#trainer"), made("train#resume")
    if changes:
        _write_json(output / "train.json", parsed(output, changes).get())
    if begins:
        _agree_with_training(output)
    else:
        _hand_on(output, changes)
    limit = _time_limit(parser, resume, budget_s, begun) if budget_s is not None and timed else None
    if limit is not None:
        limit.attach(trainer)
    run_training(trainer, resume)
    if timed:
        _write_json(output / "train.json", parsed(output, {"epochs": trainer.state.epoch}).get())
    _record_source(output, dataset)
    used = str(parser.get_parsed_content("device"))
    until = None if budget_s is None else begun + _SURE * budget_s - _REPORT_S
    evaluation_s = 0.0 if limit is None else limit.validation_s
    training, validation = (parser.get_parsed_content(f"{part}#dataset").data for part in ("train", "validate"))
    model = output / "models" / "model.pt"
    calibrate(made("detector"), training, validation, model, until=None if until is None else until - evaluation_s)
    summary = evaluate(output, dataset, output / "evaluation", section="validation", device=used, until=until)
    _note_in_card(output, undertrained(summary))


def calibrate_bundle(bundle: Path, dataset: Path, *, device: str = "cpu", overwrite: bool = False) -> None:
    """Learn from a data set how far the predictions of a bundle can be trusted; see ``lmk3d.training.calibrate``.

    Args:
        bundle: folder of a trained bundle.
        dataset: what it was trained on: images that it has seen may not pass for new ones.
        device: "cpu", "cuda", ...
        overwrite: replace a calibration by which predictions are assessed already.
    Raises:
        InputError: if the bundle, the data set or one of its files cannot be used, it has other landmarks, or the
            bundle is calibrated already.
    """
    weights = bundle / "models" / "model.pt"
    detector = LandmarkDetector.from_bundle(bundle, device=device)
    if not overwrite and detector.calibration is not None and detector.calibration.trust is not None:
        raise InputError(f"{calibration_file(weights)}: exists already; --overwrite replaces it")
    if not set(detector.names) & set(read_dataset(dataset).landmark_names):
        raise InputError(f"{dataset}: has none of the bundle's landmarks; give the data set that it was trained on")
    training, validation = (datalist(str(dataset), section) for section in ("training", "validation"))
    calibrate(detector, training, validation, weights)


def _by_time(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a training whose time is given: epochs and validations come as ``TimeLimit`` lets them."""
    return {"validate_every": _NEVER, **({} if "epochs" in changes else {"epochs": _NEVER})}


def _note_in_card(folder: Path, note: str | None) -> None:
    """Write into metadata.json that a bundle is undertrained, or that it is so no more."""
    if (folder / "metadata.json").is_file():
        path, metadata = read_config(folder, "metadata.json")
        if metadata.pop("limitations", None) != note:
            _write_json(path, metadata | ({} if note is None else {"limitations": note}))


def _begin_bundle(dataset: Path, output: Path, method: str | None, changes: Mapping[str, Any]) -> None:
    """Write a new bundle for a data set, once both are seen to be sound."""
    result = check_dataset(dataset)
    if result.problems:
        more = f" (and {len(result.problems) - 1} more)" if len(result.problems) > 1 else ""
        first = result.problems[0].removeprefix(f"{dataset}: ")
        named = first if first.startswith(str(dataset)) else f"{dataset}: {first}"
        raise InputError(named + (f"{more}; `lmk3d check {dataset}` lists them all" if more else ""))
    say(*result.fingerprint.table().split("\n"), *(f"note        {note}" for note in result.notes))
    known = read_dataset(dataset).with_validation()
    plan = plan_for(known, dataset, result.fingerprint)
    plan = plan if method in (None, "cascade") else with_method(plan, method, known)
    # A slip among the changes is told before a file is written.
    _changed(bundle_files(plan)["train.json"], output / "train.json", changes)
    write_bundle(output, plan)
    _write_json(output / "fingerprint.json", result.fingerprint.to_dict())  # for lmk3d report
    say(f"wrote {output / 'train.json'}: every setting stands there")


def _check_fit(folder: Path, dataset: Path, method: str | None) -> None:
    """Refuse to train a bundle that is there on what it was not made for."""
    config, about = read_config(folder, "train.json")[1], folder / "metadata.json"
    made_with = read_config(folder, about.name)[1].get("method") if about.is_file() else None
    another = f"choose another --output for {dataset}"
    if method is not None and made_with not in (None, method):
        raise InputError(f"{folder}: is a bundle of the method {made_with}, not of {method}; {another}")
    names, begun_on = config.get("names"), config.get("dataset")
    if isinstance(names, list) and tuple(names) != read_dataset(dataset).landmark_names:
        raise InputError(f"{folder}: is a bundle for other landmarks than those of the data set; {another}")
    if not begun_on or not (folder / "models" / "last.pt").is_file() or not Path(begun_on).is_file():
        return
    if Path(begun_on).resolve() != dataset.resolve():
        raise InputError(f"{folder}: its training began on {begun_on}; train on that, or {another}")


def _made(parser: ConfigParser, path: Path, name: str) -> Any:
    """An entry of train.json, built; what a component says against its settings is told as what it is.

    Raises:
        InputError: if a component refuses its settings.
    """
    if name not in parser:
        return None
    try:
        return parser.get_parsed_content(name)
    except RuntimeError as error:  # MONAI's own, round that of the component
        if error.__cause__ is None or isinstance(error.__cause__, InputError):
            raise error.__cause__ or error from None
        raise InputError(f"{path}: {' '.join(str(error.__cause__).split())}; correct that setting") from error


def parsed(folder: Path, changes: Mapping[str, Any]) -> ConfigParser:
    """train.json with some values changed, ready to build from.

    Raises:
        InputError: if the file or a change has a slip: see ``lmk3d.components.check``.
    """
    path, config = read_config(folder, "train.json")
    return _changed(config, path, changes)


def _changed(config: Mapping[str, Any], path: Path, changes: Mapping[str, Any]) -> ConfigParser:
    """A configuration of this path with some values changed, and checked."""
    parser = ConfigParser(config)
    for name, value in changes.items():
        if name.replace("::", "#").split("#")[0] not in config:
            raise InputError(f"{path}: it has no {name!r}; {hint(name, config)}")
        try:
            _check_kind(parser.get(name), name, value, path)
            parser[name] = value
        except InputError:
            raise
        except (KeyError, ValueError, IndexError, TypeError) as error:
            raise InputError(f"{path}: {name!r} leads nowhere in it ({error}); give the id of an entry") from error
    check(parser.get(), path, _finder())
    return parser


def _check_kind(old: Any, name: str, value: Any, path: Path) -> None:
    """Refuse a value of another kind than the one it replaces; expressions and references may be anything.

    null turns things off, and where one number stands for several (a shift, a share), a list may say each, too.
    """
    last = name.replace("::", "#").split("#")[-1]
    if any(isinstance(one, str) and one[:1] in ("$", "@", "%") for one in (old, value)):
        return
    if value is None and last not in _ABOVE_ZERO:
        return
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    kinds = {
        "true or false": not isinstance(old, bool) or isinstance(value, bool),
        "a whole number": type(old) is not int or (number and value == int(value)) or isinstance(value, list),
        "a number": type(old) is not float or number or isinstance(value, list),
        "a number above 0": last not in _ABOVE_ZERO or (number and value > 0),
        "a list, such as [1, 2]": not isinstance(old, list) or number or isinstance(value, list),
        "an object of JSON": not isinstance(old, dict) or isinstance(value, dict),
    }
    if wanted := next((kind for kind, fits in kinds.items() if not fits), None):
        raise InputError(f"{path}: {name} cannot be {value!r}; give {wanted}")


def _finder() -> Callable[[str], Any]:
    """What MONAI would make of a ``_target_``: a dotted name, or one of MONAI's own."""
    locator = ComponentLocator(excludes=["metatensor"])

    def find(target: str) -> Any:
        module = None if "." in target else locator.get_component_module_name(target)
        if isinstance(module, list):
            module = module[0]
        return locate(target if module is None else f"{module}.{target}")

    return find


def _time_limit(parser: ConfigParser, resume: Resume, budget_s: float, begun: float) -> TimeLimit:
    """What ends a training so that it and the evaluation behind it keep to a budget.

    Args:
        parser: of train.json, everything loaded.
        resume: what writes its checkpoints.
        budget_s: of the whole run.
        begun: when that began, on the clock of ``time.monotonic``.
    Raises:
        InputError: if not even a validation and the evaluation fit in.
    """
    spent_s = time.monotonic() - begun
    validation_s = _validation_seconds(parser)
    # The calibration and the evaluation detect once more in the same images, the calibration in those of training, too.
    sizes = [len(parser.get_parsed_content(f"{part}#dataset")) for part in ("train", "validate")]
    training_s = min(_CALIBRATION * budget_s, validation_s * sizes[0] / max(1, sizes[1]))
    closing_s = 2 * validation_s + training_s + _REPORT_S
    left_s = _SURE * budget_s - (time.monotonic() - begun)
    if left_s - closing_s < _WORTH * validation_s:
        whole_s = (spent_s + closing_s + 3 * validation_s + _LEAST_TRAINING_S) / _SURE
        raise InputError(
            f"--budget: too short: loading takes {duration(spent_s)} here, a validation and "
            f"the evaluation {duration(validation_s)} each; give at least {math.ceil(whole_s / 60)}m"
        )
    say(
        f"budget: {duration(left_s - closing_s)} of training and validation, then calibration and evaluation "
        f"(about {duration(closing_s)})"
    )
    scheduler = parser.get_parsed_content("train#lr_scheduler")
    return TimeLimit(left_s, resume=resume, scheduler=scheduler, validation_s=validation_s, closing_s=closing_s)


def _validation_seconds(parser: ConfigParser) -> float:
    """How long a pass over the validation cases takes, by the first of them."""
    cases, detector = parser.get_parsed_content("validate#dataset"), parser.get_parsed_content("detector")
    begun = time.monotonic()
    detector.detect(Volume(cases[0]["image"][0].numpy(), Grid.of(cases[0]["image"])))
    return (time.monotonic() - begun) * len(cases)


def _agree_with_training(folder: Path) -> None:
    """Write what prediction shares with train.json, changes and all, into inference.json."""
    path, inference = read_config(folder, "inference.json")
    _write_json(path, agreed_inference(read_config(folder, "train.json")[1], inference))


def _record_source(folder: Path, dataset: Path) -> None:
    """Write into metadata.json what the weights have learnt from now; a warning of before is no longer true."""
    path = folder / "metadata.json"
    if path.is_file():
        about = {key: value for key, value in read_config(folder, path.name)[1].items() if key != "warning"}
        _write_json(path, {**about, "data_source": f"the data set {read_dataset(dataset).name}"})


def _hand_on(folder: Path, changes: Mapping[str, Any]) -> None:
    """Write those of the changes that are prediction's, too, into inference.json, whose other entries stay."""
    path, inference = read_config(folder, "inference.json")
    shared = {name: value for name, value in changes.items() if name.replace("::", "#").split("#")[0] in inference}
    if shared := {name: value for name, value in shared.items() if name not in OWN_ENTRIES}:
        _write_json(path, _changed(inference, path, shared).get())


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
