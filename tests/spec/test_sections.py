"""The keys of [study], [budget] and [data], their defaults and bounds, and rules across sections."""

import pytest

from hpsearch.errors import StudyFileError
from hpsearch.spec import loader
from tests.support.study_files import FIVE, list_faults, read


def test_a_search_has_a_hundred_trials_of_thirty_epochs() -> None:
    """The budget of a search that names none."""
    budget = read(FIVE).budget
    assert (budget.trials, budget.epochs, budget.failures, budget.attempts, budget.patience) == (100, 30, 5, 3, 2)
    assert (budget.hours, budget.target, budget.early_stopping, budget.repeats) == (None, None, None, 1)


def test_metric_decides_the_direction() -> None:
    """Accuracy is to be high, loss to be low."""
    assert read("", "study.metric=val_loss").direction == "minimize"


@pytest.mark.parametrize(("name", "validation"), [("cifar10", 5000), ("digits", 300)])
def test_the_hold_out_fits_the_dataset(name: str, validation: int) -> None:
    """Each dataset has a hold-out of its own size by default."""
    assert read("", f"data.name={name}").data.validation == validation


@pytest.mark.parametrize("name", ["x" * 512, "Größe ≤ 3 <b>&amp;</b> 'q' \"r\"", "学習率 🧪", "../../etc", "--help"])
def test_a_name_may_hold_any_printable_character(name: str) -> None:
    """Names are text, not identifiers."""
    assert loader.from_toml("", name=name).study.name == name


def test_repeats_need_a_grid() -> None:
    """A sampler other than the grid has no points to repeat."""
    assert list_faults(FIVE, "budget.repeats=2") == [
        'budget.repeats: needs a grid: drop it, or set sampler.name = "grid"'
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[fixd]", "fixd: unknown: did you mean fixed?"),
        ("[zzz]", "zzz: unknown: one of study, budget, data, model, fixed, space, sampler, pruner, baseline"),
        ("[budget]\ntrails = 3", "budget.trails: unknown: did you mean trials?"),
        ("[budget]\nn_trials = 3", "budget.n_trials: unknown: did you mean trials?"),
        ("[fixed]\nlr = 0.1", "fixed.lr: unknown: did you mean learning_rate?"),
        ("[fixed]\nBatchSize = 1", "fixed.BatchSize: unknown: did you mean batch_size?"),
        ("[fixed]\noptimizer = 'Adam'", "fixed.optimizer: 'Adam' is unknown: did you mean adam?"),
        (
            "[data]\nconv_size = 3",
            "data.conv_size: unknown: one of name, path, load, image_size, resize, train_limit, validation, test",
        ),
        ("[fixed]\ndropot = 0.1", "fixed.dropot: unknown: did you mean dropout?"),
        ("[fixed]\ndropout = 0.96", "fixed.dropout: 0.96 is out of bounds: from 0 to 0.95"),
        ("[fixed]\ndropout = inf", "fixed.dropout: inf is not finite"),
        ("[fixed]\nbatch_norm = 1", "fixed.batch_norm: 1 is not true or false"),
        ("[space]\nlearning_rat = [1]", "space.learning_rat: unknown: did you mean learning_rate?"),
        (
            "[fixed]\ndropout = 0.1\n[space]\ndropout = [0.1, 0.2]",
            "fixed.dropout: is searched too: keep it in [fixed] or in [space]",
        ),
    ],
)
def test_a_name_or_value_that_the_table_does_not_know(text: str, fault: str) -> None:
    """Unknown sections, keys and hyperparameters are named with what was probably meant."""
    assert list_faults(text) == [fault]


@pytest.mark.parametrize(
    ("override", "fault"),
    [
        ("study.name=", "study.name: '' is empty: give the study a name"),
        ("study.name='   '", "study.name: '   ' is empty: give the study a name"),
        (
            "study.name='''a\nb'''",
            "study.name: 'a\\nb' is not printable: leave out line breaks and control characters",
        ),
        ("study.name=3", "study.name: 3 is not a string: a name for the study (or give --name)"),
        (
            'study.description="a\\u0000"',
            "study.description: 'a\\x00' holds a null character: Postgres keeps any text but that",
        ),
        ("study.description=\udcff", "study.description: '\\udcff' is not UTF-8: write it in that"),
        ("study.seed=-1", "study.seed: -1 is out of bounds: 0 or more"),
        ("study.seed=4294967296", "study.seed: 4294967296 is out of bounds: 4294967295 or less"),
        (
            "study.seed=1.0",
            "study.seed: 1.0 is not a whole number: seed of the split, the sampler and every training",
        ),
        ("study.priority=9999999999", "study.priority: 9999999999 is out of bounds: 2147483647 or less"),
        (
            "study.metric=loss",
            "study.metric: 'loss' is unknown: one of 'val_accuracy', 'val_loss', 'val_f1', 'val_balanced_accuracy', "
            "'val_auroc' or 'val_top5_accuracy'",
        ),
        ("study.keep_models=-1", "study.keep_models: -1 is out of bounds: 0 or more"),
        ("budget.epochs=true", "budget.epochs: true is not a whole number: epochs a trial trains for"),
        ("budget.hours=0", "budget.hours: 0 is out of bounds: above 0"),
        ("budget.hours=inf", "budget.hours: inf is not finite: hours since the start, pauses excluded"),
        (
            "budget.target=nan",
            "budget.target: nan is not finite: the study ends when a trial reaches this value of the metric",
        ),
        (
            "budget.target=80",
            "budget.target: 80.0 is no val_accuracy to reach: a fraction above 0, at most 1, such as 0.8",
        ),
        (
            "data.name=flowers",
            "data.name: 'flowers' is unknown: one of 'cifar10', 'cifar100', 'digits', 'fashion_mnist' or 'mnist'",
        ),
        ("data=3", "data: 3 is not a table: write [data] above its keys"),
        (
            "data.validation=50000",
            "data.validation: 50000 of the 50000 images of cifar10 cannot be held out: from 10 to 49990",
        ),
        (
            "data.validation=9",
            "data.validation: 9 of the 50000 images of cifar10 cannot be held out: from 10 to 49990",
        ),
        (
            "data={name='digits', validation=1437}",
            "data.validation: 1437 of the 1437 images of digits cannot be held out: from 10 to 1427",
        ),
        (
            "data.train_limit=45001",
            "data.train_limit: 45001 is out of bounds: from 10 to 45000, what 5000 validation images leave of 50000",
        ),
        (
            "fixed.l1=" + "9" * 400,
            "fixed.l1: 999999999999999999...9999999999999999999 is too large: TOML's whole numbers have 64 bits",
        ),
    ],
)
def test_a_value_out_of_bounds(override: str, fault: str) -> None:
    """Numbers have bounds, words a list, and nothing is coerced."""
    assert list_faults("", override) == [fault]


@pytest.mark.parametrize("key", ["trials", "epochs", "failures", "attempts", "patience", "early_stopping", "repeats"])
@pytest.mark.parametrize("value", ["0", "-3"])
def test_a_count_is_at_least_one(key: str, value: str) -> None:
    """Nothing is done zero times or less."""
    assert list_faults("", f"budget.{key}={value}") == [f"budget.{key}: {value} is out of bounds: 1 or more"]


def test_a_name_is_required() -> None:
    """A study without a name is refused with both ways to name it."""
    with pytest.raises(StudyFileError) as refused:
        loader.from_toml("")
    assert refused.value.faults == ("study.name: missing: a name for the study (or give --name)",)


@pytest.mark.parametrize("name", ["x" * 513, "a\x7f", "a\udcff", "a\x1b[31m"])
def test_a_name_that_cannot_be_printed_or_stored(name: str) -> None:
    """A name has at most 512 printable characters."""
    with pytest.raises(StudyFileError, match=r"^study\.name: "):
        loader.from_toml("", name=name)


def test_an_application_begins_from_weights() -> None:
    """From ImageNet's by default; other models take none, and what is neither a word nor a file is refused."""
    application = '[model]\nname = "application"\n'
    assert read(application).model.weights == "imagenet"
    assert read("").model.weights is None
    for weights in ("none", "own.weights.h5", "/data/own.keras"):
        spec = read(f'{application}weights = "{weights}"\n')
        assert (spec.model.weights, spec.model.begins_from_file) == (weights, weights != "none")
        assert spec.fingerprint != read(application).fingerprint
    assert list_faults('[model]\nname = "cnn"\nweights = "none"\n') == [
        "model.weights: is for the model application: drop it"
    ]
    assert list_faults(application + 'weights = "noisy-student"\n') == [
        "model.weights: 'noisy-student' is unknown: imagenet, none, or the path of a .weights.h5 or .keras file"
    ]


def test_a_training_row_that_the_model_does_not_have_is_refused() -> None:
    """An application preprocesses as it must; the fault does not offer another name."""
    application = '[model]\nname = "application"\n'
    assert "preprocessing" not in read(application).table
    assert list_faults(application + '[fixed]\npreprocessing = "scale"\n') == [
        "fixed.preprocessing: is not for this model: drop it"
    ]
    assert list_faults(application + '[space]\npreprocessing = ["scale", "none"]\n') == [
        "space.preprocessing: is not for this model: drop it"
    ]
