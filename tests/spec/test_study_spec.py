"""spec.py and the files below it: what a study file means, and every way in which it can be wrong."""

import dataclasses
import importlib.util
import json
import os
import pickle
from pathlib import Path

import pytest

from hpsearch.errors import ExitCode, StudyFileError
from hpsearch.spec import hyperparameters, sections, study_spec
from hpsearch.spec.hyperparameters import Hyperparameter, fill_defaults
from hpsearch.spec.study_spec import Choices, Range, StudySpec

NAMED = '[study]\nname = "x"\n'
FIVE = """
[space]
learning_rate = { low = 1e-5, high = 1e-1, log = true }
optimizer = ["sgd", "momentum", "nesterov", "adam", "adagrad", "rmsprop"]
activation = ["sigmoid", "tanh", "relu", "leaky_relu", "prelu", "elu", "maxout"]
dropout = { low = 0.0, high = 0.5 }
batch_norm = [true, false]
"""
MOMENTUM = 'momentum = { low = 0.5, high = 0.99, when = { optimizer = ["momentum", "nesterov"] } }\n'
GRID = '[sampler]\nname = "grid"\n'


def read(text: str, *overrides: str) -> StudySpec:
    return study_spec.from_toml(NAMED + text, overrides)


def faults(text: str, *overrides: str) -> list[str]:
    with pytest.raises(StudyFileError) as refused:
        read(text, *overrides)
    assert refused.value.exit_code == ExitCode.USAGE
    assert str(refused.value).splitlines() == list(refused.value.faults)
    return list(refused.value.faults)


class TestFile:
    """Finding and reading the file."""

    @pytest.mark.parametrize(
        ("content", "fault"),
        [
            (None, "no such file: give the path of a study file"),
            ("directory", "is a directory: give the path of a study file in it"),
            (b'[study]\nname = "\xff"', "not UTF-8 at byte 17: save it as UTF-8"),
            (b"[study]\nname = x", "not TOML: Invalid value (at line 2, column 8)"),
            (b"x = " + b"[" * 5000, "nested too deeply: a study file has tables in tables, no deeper"),
            (b"#" * (1 << 20) + b"#", "is longer than 1048576 bytes: give a study file"),
        ],
    )
    def test_a_file_that_cannot_be_read_is_one_line(self, tmp_path, content, fault):
        """Whatever is wrong with the file itself is said in a line that names it."""
        path = tmp_path / "study.toml"
        if content == "directory":
            path.mkdir()
        elif content is not None:
            path.write_bytes(content)
        with pytest.raises(StudyFileError) as refused:
            study_spec.load(path)
        assert refused.value.faults == (f"{path}: {fault}",)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
    def test_a_file_without_permission_is_one_line(self, tmp_path):
        """A file that the user may not read is named, with the reason."""
        path = tmp_path / "study.toml"
        path.touch(0o000)
        with pytest.raises(StudyFileError, match=r"cannot be read \(Permission denied\)"):
            study_spec.load(path)

    def test_a_device_that_never_ends_is_not_read_to_its_end(self):
        """A slip such as /dev/zero is refused instead of filling the memory."""
        with pytest.raises(StudyFileError, match="is longer than"):
            study_spec.load(Path("/dev/zero"))

    def test_an_editors_byte_order_mark_is_passed_over(self, tmp_path):
        """A file saved by an editor that marks UTF-8 reads as any other."""
        path = tmp_path / "study.toml"
        path.write_bytes(b"\xef\xbb\xbf" + NAMED.encode())
        assert study_spec.load(path).study.name == "x"

    def test_no_file_is_the_default_study(self):
        """Without a path the study shipped in the package is read."""
        assert study_spec.load(None).study.name == "cifar10-cnn"

    def test_faults_stay_on_one_line_each(self):
        """A key with line breaks or terminal codes in it cannot break the report."""
        with pytest.raises(StudyFileError) as refused:
            study_spec.from_toml('"a\\nb\\u001b[31m" = 1\n')
        assert len(str(refused.value).splitlines()) == len(refused.value.faults) == 2
        assert "\x1b" not in str(refused.value)


class TestMeaning:
    """What a valid file means."""

    def test_a_name_is_all_that_is_needed(self):
        """A file with a name alone trains the base model once, with the documented defaults."""
        plain = read("")
        assert plain.budget == sections.BudgetSection(trials=1)
        assert plain.data == sections.DataSection(name="cifar10", validation=5000)
        assert (plain.sampler.name, plain.pruner.name, plain.direction) == ("tpe", "asha", "maximize")
        assert plain.hyperparameters({}) == plain.fixed_values() == fill_defaults({})

    def test_a_search_has_a_hundred_trials_of_thirty_epochs(self):
        """The budget of a search that names none."""
        budget = read(FIVE).budget
        assert (budget.trials, budget.epochs, budget.failures, budget.attempts, budget.patience) == (100, 30, 5, 3, 2)
        assert (budget.hours, budget.target, budget.early_stopping, budget.repeats) == (None, None, None, 1)

    def test_dimensions_come_in_the_order_of_the_file_and_the_types_of_the_table(self):
        """A list is choices, a table a range, and whole numbers become floats where the hyperparameter is one."""
        space = read(
            "[space]\nl2 = [0, 1]\nbatch_size = { low = 8, high = 64, step = 8 }\ndropout = { low = 0, high = 0.5 }"
        ).space
        assert list(space) == ["l2", "batch_size", "dropout"]
        assert space["l2"] == Choices((0.0, 1.0))
        assert [type(value) for value in space["l2"].points()] == [float, float]
        assert space["batch_size"] == Range(8, 64, step=8, integer=True)
        assert type(space["dropout"].low) is float

    def test_metric_decides_the_direction(self):
        """Accuracy is to be high, loss to be low."""
        assert read("", "study.metric=val_loss").direction == "minimize"

    @pytest.mark.parametrize(("name", "validation"), [("cifar10", 5000), ("digits", 300)])
    def test_the_hold_out_fits_the_dataset(self, name, validation):
        """Each dataset has a hold-out of its own size by default."""
        assert read("", f"data.name={name}").data.validation == validation

    def test_parents_come_before_children_wherever_they_stand(self):
        """A condition may precede in the file the hyperparameter that it names."""
        study = read(
            "[space]\n" + MOMENTUM + 'l1 = [0.0, 1e-5]\noptimizer = ["sgd", "momentum"]',
            "space.momentum.when.optimizer=['momentum']",
        )
        assert list(study.space) == ["momentum", "l1", "optimizer"]
        assert study.searched == ("l1", "optimizer", "momentum")

    def test_a_condition_holds_through_its_ancestors(self):
        """A hyperparameter is inactive where its parent is, whatever value the parent has by default."""
        study = read(
            "[space]\ndropout = [0.0, 0.25]\nl1 = { choices = [0.0, 1e-5], when = { dropout = [0.0] } }\n"
            "l2 = { choices = [0.0, 1e-4], when = { l1 = [0.0] } }"
        )
        assert study.active("l2", {"dropout": 0.0, "l1": 0.0})
        assert not study.active("l2", {"dropout": 0.0, "l1": 1e-5})
        assert not study.active("l2", {"dropout": 0.25, "l1": 0.0})
        assert not study.active("l1", {})

    def test_all_parents_must_agree(self):
        """Conditions on two parents hold together or not at all."""
        study = read(
            "[space]\nbatch_norm = [true, false]\naugment = [true, false]\n"
            "l2 = { choices = [0.0, 1e-4], when = { batch_norm = [true], augment = [false] } }"
        )
        assert study.active("l2", {"batch_norm": True, "augment": False})
        assert not study.active("l2", {"batch_norm": True, "augment": True})

    def test_what_is_inactive_trains_with_its_default(self):
        """A trial's table has what it sampled, what the file fixed, and defaults for the rest and the inactive."""
        study = read("[fixed]\nbatch_size = 64\n" + FIVE + MOMENTUM)
        sampled = {"learning_rate": 0.1, "optimizer": "adam", "activation": "elu", "dropout": 0.5, "batch_norm": True}
        assert study.hyperparameters(sampled) == fill_defaults({**sampled, "batch_size": 64})
        assert study.hyperparameters({**sampled, "momentum": 0.6})["momentum"] == 0.9

    def test_the_rest_of_the_table_is_what_is_not_searched(self):
        """fixed_values has every row but the searched, and nothing for one that follows a searched one."""
        rest = read("[fixed]\nl2 = 1\n" + FIVE).fixed_values()
        assert rest.keys() == hyperparameters.TABLE.keys() - set(read(FIVE).space)
        assert rest["dense_dropout"] is None
        assert rest["l2"] == 1.0
        assert read("[fixed]\ndense_dropout = 0.5\n" + FIVE).fixed_values()["dense_dropout"] == 0.5

    def test_a_spec_is_frozen(self):
        """What a worker was given does not change under it."""
        study = read("[fixed]\nl2 = 0.1\n" + FIVE)
        with pytest.raises(dataclasses.FrozenInstanceError):
            study.fixed = {}  # type: ignore[misc]
        with pytest.raises(TypeError):
            study.fixed["l2"] = 0.2  # type: ignore[index]
        with pytest.raises(ValueError, match="frozen"):
            study.budget.trials = 3

    def test_tpe_groups_conditional_spaces(self):
        """TPE models conditional hyperparameters in groups, unless it is told otherwise."""
        assert read(FIVE).sampler.options["group"] is False
        assert read(FIVE + MOMENTUM).sampler.options["group"] is True
        assert read(FIVE + MOMENTUM, "sampler.group=false").sampler.options["group"] is False
        assert read(FIVE + MOMENTUM, "sampler.multivariate=false").sampler.options["group"] is False

    @pytest.mark.parametrize(
        ("epochs", "rungs"), [(1, []), (4, [1, 3]), (8, [1, 3]), (9, [1, 3]), (30, [2, 6, 18]), (100, [4, 12, 36])]
    )
    def test_the_default_pruner_has_rungs_that_suit_the_epochs(self, epochs: int, rungs: list[int]):
        """Three at most, and none shortly before the last epoch."""
        pruner = read("", f"budget.epochs={epochs}").pruner
        assert pruner.name == "asha"
        every = [pruner.options["min_resource"] * pruner.options["reduction_factor"] ** rung for rung in range(9)]
        assert [rung for rung in every if rung < epochs] == rungs
        assert (pruner.options["bootstrap_count"], pruner.options["min_early_stopping_rate"]) == (0, 0)

    def test_a_pruner_that_is_named_has_its_own_options(self):
        """The default's are for studies that name none, and a single one may be changed."""
        assert read("", "pruner.name=median").pruner.options["n_startup_trials"] == 5
        assert read("", "pruner.name=asha").pruner.options["reduction_factor"] == 4
        assert read("", "pruner.reduction_factor=2").pruner.options["reduction_factor"] == 2

    def test_a_grid_is_not_pruned_unless_it_asks(self):
        """All points of a grid are there to be compared at full length."""
        grid = "[space]\nbatch_norm = [true, false]\n" + GRID
        assert read(grid).pruner.name == "none"
        assert read(grid, "pruner.name=median").pruner.name == "median"

    @pytest.mark.parametrize(
        "name", ["x" * 512, "Größe ≤ 3 <b>&amp;</b> 'q' \"r\"", "学習率 🧪", "../../etc", "--help"]
    )
    def test_a_name_may_hold_any_printable_character(self, name):
        """Names are text, not identifiers."""
        assert study_spec.from_toml("", name=name).study.name == name


class TestOverrides:
    """What the command line puts over the file."""

    def test_a_value_is_toml_or_else_a_string(self):
        """Numbers, words, lists and tables can all be set, inside tables and whole."""
        study = read(
            FIVE,
            "space.learning_rate.low=1e-4",
            "fixed.batch_size=128",
            "fixed.schedule=cosine",
            'space.optimizer=["adam", "sgd"]',
            "space.dropout={ low = 0, high = 0.4, step = 0.1 }",
            "study.description=a = b",
        )
        assert study.space["learning_rate"] == Range(1e-4, 1e-1, log=True)
        assert dict(study.fixed) == {"batch_size": 128, "schedule": "cosine"}
        assert study.space["optimizer"] == Choices(("adam", "sgd"))
        assert study.space["dropout"] == Range(0.0, 0.4, step=0.1)
        assert study.study.description == "a = b"

    def test_name_and_trials_win(self):
        """--name and --trials stand over the file and over --set."""
        study = study_spec.from_toml(NAMED, ["study.name=y", "budget.trials=7"], name="z", trials=9)
        assert (study.study.name, study.budget.trials) == ("z", 9)

    def test_a_name_on_the_command_line_is_enough(self):
        """A file need not have a name where --name gives one."""
        assert study_spec.from_toml("", name="z").study.name == "z"

    def test_a_value_cannot_smuggle_keys_in(self):
        """A line break in a value is part of the value."""
        assert faults("", "budget.trials=3\n[fixed]\nl1=1") == [
            "budget.trials: '3\\n[fixed]\\nl1=1' is not a whole number: trials to end, exactly, over all workers; "
            "a grid: its points; an empty [space]: 1"
        ]

    @pytest.mark.parametrize(
        ("override", "fault"),
        [
            ("budget.trials", "--set budget.trials: is no override: write key=value, such as budget.trials=20"),
            ("=3", "--set =3: is no override: write key=value, such as budget.trials=20"),
            ("a..b=3", "--set a..b=3: is no override: write key=value, such as budget.trials=20"),
            ("study.name.x=3", "--set study.name.x: study.name is 'x', not a table: set study.name as a whole"),
            ("budget.trails=3", "budget.trails: unknown: did you mean trials?"),
        ],
    )
    def test_a_bad_override_is_a_fault(self, override, fault):
        """What cannot be set is said as a fault of the file would be."""
        assert faults("", override) == [fault]

    def test_the_mapping_given_is_left_alone(self):
        """A notebook's dict is not changed by overriding it."""
        raw = {"study": {"name": "x"}, "space": {"dropout": (0.1, 0.2)}}
        assert study_spec.from_dict(raw, ["study.name=y"]).study.name == "y"
        assert raw == {"study": {"name": "x"}, "space": {"dropout": (0.1, 0.2)}}


class TestGrid:
    """Enumeration."""

    def test_a_grid_is_the_product_in_the_order_of_the_file(self):
        """The last hyperparameter is the fastest, steps are exact, and trials default to the number of points."""
        study = read('[space]\noptimizer = ["sgd", "adam"]\ndropout = { low = 0, high = 0.3, step = 0.1 }\n' + GRID)
        points = [(p["optimizer"], p["dropout"]) for p in study.grid()]
        assert points == [(name, rate) for name in ("sgd", "adam") for rate in (0.0, 0.1, 0.2, 0.3)]
        assert study.budget.trials == 8

    def test_repeats_come_round_by_round(self):
        """Every point is tried once before any is tried again."""
        study = read("[budget]\nrepeats = 3\n[space]\nbatch_size = { low = 16, high = 32, step = 16 }\n" + GRID)
        assert [point["batch_size"] for point in study.grid()] == [16, 32] * 3
        assert study.budget.trials == 6

    def test_inactive_combinations_count_once(self):
        """What differs only in an inactive hyperparameter is one point, without that hyperparameter."""
        study = read(
            '[space]\nmomentum = { choices = [0.5, 0.9], when = { optimizer = ["momentum"] } }\n'
            'optimizer = ["adam", "momentum"]\n' + GRID
        )
        assert study.grid() == [
            {"optimizer": "adam"},
            {"momentum": 0.5, "optimizer": "momentum"},
            {"momentum": 0.9, "optimizer": "momentum"},
        ]
        assert study.budget.trials == 3

    def test_fewer_trials_than_points_are_allowed(self):
        """A grid can be begun and extended later."""
        assert read("[space]\nbatch_norm = [true, false]\n" + GRID, "budget.trials=1").budget.trials == 1

    @pytest.mark.parametrize(
        ("text", "fault"),
        [
            ("", "space: is empty, which is no grid: list values of a hyperparameter, or choose another sampler"),
            (
                "[space]\ndropout = { low = 0, high = 0.5 }\n",
                "space.dropout.step: missing: a grid needs the step of a range, or a list of values",
            ),
            (
                "[space]\nbatch_size = { low = 8, high = 16 }\n",
                "space.batch_size.step: missing: a grid needs the step of a range, or a list of values",
            ),
            (
                "[budget]\ntrials = 7\nrepeats = 3\n[space]\nbatch_norm = [true, false]\n",
                "budget.trials: 7 are more than the grid has: 2 points × 3 repeats make 6, the default",
            ),
            (
                "[budget]\ntrials = 7\nrepeats = 2000000000\n[space]\nbatch_norm = [true, false]\n",
                "budget.repeats: 2 points make 4000000000 trials, over 100000: repeat less",
            ),
            (
                "[space]\nbatch_norm = [true, false]\n[[baseline]]\n",
                "baseline: a grid tries its own points only: drop [[baseline]] or choose another sampler",
            ),
            (
                "[space]\ndropout = { low = 0.0, high = 0.9, step = 1e-300 }\n",
                "space: over 100000 combinations are too many for a grid: widen steps or drop values",
            ),
        ],
    )
    def test_what_is_no_grid_is_refused(self, text, fault):
        """A grid needs something to enumerate, no more trials than points, and no other points."""
        assert faults(text + GRID) == [fault]

    def test_repeats_need_a_grid(self):
        """A sampler other than the grid has no points to repeat."""
        assert faults(FIVE, "budget.repeats=2") == [
            'budget.repeats: needs a grid: drop it, or set sampler.name = "grid"'
        ]


class TestBaselines:
    """What is tried first."""

    def test_a_baseline_is_completed_with_defaults(self):
        """Each holds every hyperparameter active in it, those not named from the table."""
        study = read(FIVE + MOMENTUM + '[[baseline]]\n[[baseline]]\noptimizer = "adam"\nlearning_rate = 1e-2\n')
        base = {
            "learning_rate": 0.001,
            "optimizer": "nesterov",
            "activation": "relu",
            "dropout": 0.25,
            "batch_norm": False,
        }
        assert study.baselines == (
            {**base, "momentum": 0.9},
            {**base, "optimizer": "adam", "learning_rate": 0.01},
        )

    def test_defaults_follow_what_the_baseline_names(self):
        """A searched dense_dropout that is not named follows the dropout of the baseline, or the fixed one."""
        dense = "[space]\ndense_dropout = { low = 0.0, high = 0.5 }\n"
        assert read(dense + "dropout = [0.1, 0.3]\n[[baseline]]\ndropout = 0.3\n").baselines[0]["dense_dropout"] == 0.3
        assert read("[fixed]\ndropout = 0.4\n" + dense + "[[baseline]]\n").baselines[0]["dense_dropout"] == 0.4

    @pytest.mark.parametrize(
        ("baseline", "fault"),
        [
            ("dropout = 0.6", "baseline[1].dropout: 0.6 is outside the space: 0.0 to 0.5"),
            ("dropout = 'a'", "baseline[1].dropout: 'a' is not a number"),
            ("dropot = 0.1", "baseline[1].dropot: unknown: did you mean dropout?"),
            ("l1 = 0.1", "baseline[1].l1: is fixed to 0.5: drop it here or search it"),
            ("l2 = 0.1", "baseline[1].l2: is not searched: drop it here or add it to [space]"),
            (
                "optimizer = 'adam'\nmomentum = 0.9",
                "baseline[1].momentum: is not searched with optimizer = 'adam': drop it here",
            ),
            (
                "filters = 33",
                "baseline[1].filters: 33 is outside the space: 16 to 64 in steps of 16",
            ),
        ],
    )
    def test_a_baseline_outside_the_space_is_refused(self, baseline, fault):
        """A baseline names searched hyperparameters only, with values a trial could get."""
        searched = FIVE + MOMENTUM + "filters = { low = 16, high = 64, step = 16 }\n"
        assert faults("[fixed]\nl1 = 0.5\n" + searched + "[[baseline]]\n[[baseline]]\n" + baseline) == [fault]

    def test_a_default_outside_the_space_asks_for_a_value(self):
        """Where the table's default is not in the space, the baseline has to name a value."""
        assert faults("[space]\nlearning_rate = [0.1, 0.01]\n[[baseline]]\n") == [
            "baseline[0].learning_rate: the default 0.001 is outside the space: [0.1, 0.01], name one"
        ]

    def test_more_baselines_than_trials_are_refused(self):
        """Every baseline is one of the trials."""
        assert faults(FIVE + "[[baseline]]\n[[baseline]]\n", "budget.trials=1") == [
            "baseline: 2 do not fit into budget.trials = 1: drop some or raise it"
        ]

    def test_a_baseline_that_is_no_list_of_tables_is_refused(self):
        """A single table or a value is no baseline."""
        assert faults("", "baseline=3") == ["baseline: 3 is not a list of tables: write [[baseline]] above each"]


class TestFaults:
    """Every way to be wrong, one line each."""

    def test_all_faults_are_told_at_once(self):
        """Nobody mends one fault only to be told of the next."""
        found = faults(
            "[budget]\nepochs = 0\n[fixed]\nl1 = -1\n[space]\nl2 = []\n"
            "[sampler]\nname = 'tpee'\n[pruner]\nname = 'x'\n[fixd]"
        )
        assert [fault.split(":")[0] for fault in found] == [
            "fixd",
            "fixed.l1",
            "space.l2",
            "sampler.name",
            "budget.epochs",
            "pruner.name",
        ]

    @pytest.mark.parametrize(
        ("text", "fault"),
        [
            ("[fixd]", "fixd: unknown: did you mean fixed?"),
            ("[zzz]", "zzz: unknown: one of study, budget, data, fixed, space, sampler, pruner, baseline"),
            ("[budget]\ntrails = 3", "budget.trails: unknown: did you mean trials?"),
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
    def test_a_name_or_value_that_the_table_does_not_know(self, text, fault):
        """Unknown sections, keys and hyperparameters are named with what was probably meant."""
        assert faults(text) == [fault]

    @pytest.mark.parametrize(
        ("entry", "fault"),
        [
            ("dropout = { low = 0.5, high = 0.1 }", ".low: 0.5 is not below high = 0.1: exchange or change them"),
            ("dropout = { low = 0.5, high = 0.5 }", ".low: 0.5 is not below high = 0.5: exchange or change them"),
            ("dropout = { low = 0.5 }", ".high: missing: the largest value"),
            ("dropout = { low = 0.5, hihg = 0.6, high = 0.6 }", ".hihg: unknown: did you mean high?"),
            ("dropout = { low = -0.5, high = 0.5 }", ".low: -0.5 is out of bounds: from 0 to 0.95"),
            ("dropout = { low = 0.5, high = 1 }", ".high: 1 is out of bounds: from 0 to 0.95"),
            ("dropout = { low = nan, high = 0.5 }", ".low: nan is not finite"),
            ("dropout = { low = 'a', high = 0.5 }", ".low: 'a' is not a number"),
            (
                "dropout = { low = 0, high = 0.5, log = 1 }",
                ".log: 1 is not true or false: sample the logarithm: true for what spans orders of magnitude",
            ),
            ("l2 = { low = 0, high = 0.1, log = true }", ".low: 0 has no logarithm: above 0, or without log = true"),
            ("learning_rate = { low = 0, high = 0.1, log = true }", ".low: 0 is out of bounds: above 0 to 10"),
            (
                "l2 = { low = 0.1, high = 0.4, log = true, step = 0.1 }",
                ".step: cannot go with log = true: drop one of them",
            ),
            ("dropout = { low = 0, high = 0.5, step = 0 }", ".step: 0 is out of bounds: above 0"),
            ("dropout = { low = 0, high = 0.5, step = -0.1 }", ".step: -0.1 is out of bounds: above 0"),
            (
                "dropout = { low = 0, high = 0.5, step = inf }",
                ".step: inf is not a number: the distance between values",
            ),
            (
                "dropout = { low = 0, high = 0.5, step = 0.2 }",
                ".step: 0.2 does not lead from low = 0 to high = 0.5: high = 0.4 would fit",
            ),
            (
                "dropout = { low = 0, high = 0.5, step = 0.6 }",
                ".step: 0.6 does not lead from low = 0 to high = 0.5: at most 0.5 would fit",
            ),
            ("batch_size = { low = 16.0, high = 32 }", ".low: 16.0 is not a whole number"),
            (
                "batch_size = { low = 16, high = 32, step = 0.5 }",
                ".step: 0.5 is not a whole number: the distance between values",
            ),
            (
                "optimizer = { low = 0, high = 1 }",
                ": a range needs a number: list values of sgd, momentum, nesterov, adam, adagrad, rmsprop",
            ),
            ("batch_norm = { low = 0, high = 1 }", ": a range needs a number: list values of true or false"),
            (
                "activation = ['relu', 'gelu']",
                ": 'gelu' is unknown: one of sigmoid, tanh, relu, leaky_relu, prelu, elu, maxout",
            ),
            ("activation = ['relu', 'relu']", ": 'relu' is listed more than once: list it once"),
            ("l1 = [0, 0.0]", ": 0.0 is listed more than once: list it once"),
            (
                "activation = []",
                ": the list is empty: list values of sigmoid, tanh, relu, leaky_relu, prelu, elu, maxout",
            ),
            ("batch_norm = [0, 1]", ": 0 is not true or false"),
            ("filters = [0]", ": 0 is out of bounds: from 1 to 1024"),
            ("activation = 'relu'", ": 'relu' is one value: list several, [\"sigmoid\", ...], or move it to [fixed]"),
            (
                "dropout = 0.1",
                ": 0.1 is one value: list several, [...] or { low = ..., high = ... }, or move it to [fixed]",
            ),
            ("dropout = { choices = 0.1 }", ".choices: 0.1 is not a list: the values"),
            ("dropout = { choices = [0.1], low = 0 }", ".low: unknown: one of choices, when"),
        ],
    )
    def test_an_impossible_dimension(self, entry, fault):
        """A dimension that cannot be sampled, or that leaves the table's bounds, is refused where it is wrong."""
        found = faults(f"[space]\n{entry}")
        assert found[0] == f"space.{entry.split()[0]}{fault}"
        assert all(line.startswith(f"space.{entry.split()[0]}") for line in found)

    @pytest.mark.parametrize(
        ("entries", "fault"),
        [
            (
                "{ optimizer = ['adagrad'] }",
                ".optimizer: 'adagrad' is not a value of optimizer: some of ['sgd', 'adam']",
            ),
            ("{ optimizer = [1] }", ".optimizer: 1 is not a value of optimizer: some of ['sgd', 'adam']"),
            ("{ optimizer = [] }", ".optimizer: the list is empty: some of ['sgd', 'adam']"),
            ("{ optimiser = ['adam'] }", ".optimiser: unknown: did you mean optimizer?"),
            ("{ batch_norm = [true] }", ".batch_norm: is not searched: add it to [space]"),
            ("{ dropout = [0.1] }", ".dropout: dropout is a range: a parent must be a list of choices"),
            (
                "{ optimizer = 'adam' }",
                ".optimizer: 'adam' is not a list: { parent = [values with which this is searched] }",
            ),
            ("{}", ": is empty: name a parent and its values, or drop it"),
            ("{ momentum = [0.9] }", ": goes in a circle through momentum: drop one of the conditions"),
        ],
    )
    def test_an_impossible_condition(self, entries, fault):
        """A condition names a searched list and values that it has, and never comes back to itself."""
        text = (
            "[space]\noptimizer = ['sgd', 'adam']\ndropout = { low = 0.1, high = 0.2 }\n"
            f"momentum = {{ choices = [0.9], when = {entries} }}"
        )
        assert faults(text) == [f"space.momentum.when{fault}"]

    def test_a_circle_of_conditions_names_everyone_in_it(self):
        """Two hyperparameters that wait for one another would never be sampled."""
        assert faults(
            "[space]\nbatch_norm = { choices = [true, false], when = { augment = [true] } }\n"
            "augment = { choices = [true, false], when = { batch_norm = [true] } }"
        ) == [
            "space.batch_norm.when: goes in a circle through augment: drop one of the conditions",
            "space.augment.when: goes in a circle through batch_norm: drop one of the conditions",
        ]

    def test_a_parent_with_a_fault_does_not_make_its_children_faulty(self):
        """One mistake is one line."""
        assert faults(
            "[space]\noptimizer = ['sgdd', 'momentum']\n" + MOMENTUM, "space.momentum.when.optimizer=['momentum']"
        ) == ["space.optimizer: 'sgdd' is unknown: one of sgd, momentum, nesterov, adam, adagrad, rmsprop"]

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
            ("study.metric=loss", "study.metric: 'loss' is unknown: one of 'val_accuracy' or 'val_loss'"),
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
            ("data.name=mnist", "data.name: 'mnist' is unknown: one of 'cifar10' or 'digits'"),
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
                "data.train_limit: 45001 is out of bounds: from 10 to 45000, "
                "what 5000 validation images leave of 50000",
            ),
            (
                "fixed.l1=" + "9" * 400,
                "fixed.l1: 999999999999999999...9999999999999999999 is too large: TOML's whole numbers have 64 bits",
            ),
        ],
    )
    def test_a_value_out_of_bounds(self, override, fault):
        """Numbers have bounds, words a list, and nothing is coerced."""
        assert faults("", override) == [fault]

    @pytest.mark.parametrize(
        "key", ["trials", "epochs", "failures", "attempts", "patience", "early_stopping", "repeats"]
    )
    @pytest.mark.parametrize("value", ["0", "-3"])
    def test_a_count_is_at_least_one(self, key, value):
        """Nothing is done zero times or less."""
        assert faults("", f"budget.{key}={value}") == [f"budget.{key}: {value} is out of bounds: 1 or more"]

    def test_a_name_is_required(self):
        """A study without a name is refused with both ways to name it."""
        with pytest.raises(StudyFileError) as refused:
            study_spec.from_toml("")
        assert refused.value.faults == ("study.name: missing: a name for the study (or give --name)",)

    @pytest.mark.parametrize("name", ["x" * 513, "a\x7f", "a\udcff", "a\x1b[31m"])
    def test_a_name_that_cannot_be_printed_or_stored(self, name):
        """A name has at most 512 printable characters."""
        with pytest.raises(StudyFileError, match=r"^study\.name: "):
            study_spec.from_toml("", name=name)

    @pytest.mark.parametrize(
        ("overrides", "fault"),
        [
            (["sampler.name=tpee"], "sampler.name: 'tpee' is unknown: did you mean tpe?"),
            (["sampler.name=3"], "sampler.name: 3 is unknown: one of tpe, random, grid, qmc, cmaes, gp"),
            (["sampler.n_startup=3"], "sampler.n_startup: unknown: did you mean n_startup_trials?"),
            (["sampler.name=random", "sampler.seed=3"], "sampler.seed: unknown: nothing can be set here"),
            (["sampler.n_startup_trials=-1"], "sampler.n_startup_trials: -1 is out of bounds: 0 or more"),
            (["sampler.n_ei_candidates=0"], "sampler.n_ei_candidates: 0 is out of bounds: 1 or more"),
            (
                ["sampler.constant_liar=1"],
                "sampler.constant_liar: 1 is not true or false: keep away from what other workers are trying",
            ),
            (
                ["sampler.group=true", "sampler.multivariate=false"],
                "sampler.group: needs multivariate = true: set that or drop group",
            ),
            (
                ["sampler.name=qmc", "sampler.qmc_type=sobl"],
                "sampler.qmc_type: 'sobl' is unknown: one of 'sobol' or 'halton'",
            ),
            (["sampler.name=cmaes", "sampler.popsize=1"], "sampler.popsize: 1 is out of bounds: 2 or more"),
            (
                ["sampler.name=cmaes", "sampler.lr_adapt=true", "sampler.with_margin=true"],
                "sampler.with_margin: cannot go with lr_adapt: keep one of lr_adapt, with_margin",
            ),
            (["pruner.name=medain"], "pruner.name: 'medain' is unknown: did you mean median?"),
            (
                ["pruner.name=percentile"],
                "pruner.percentile: missing: percent of the trials to keep at each look, such as 60.0",
            ),
            (
                ["pruner.name=percentile", "pruner.percentile=101"],
                "pruner.percentile: 101 is out of bounds: 100 or less",
            ),
            (
                ["pruner.name=asha", "pruner.min_resource='auto'"],
                "pruner.min_resource: 'auto' is not a whole number: epochs before the first rung",
            ),
            (
                ["pruner.name=asha", "pruner.reduction_factor=1"],
                "pruner.reduction_factor: 1 is out of bounds: 2 or more",
            ),
            (
                ["pruner.name=hyperband", "pruner.n_warmup_steps=1"],
                "pruner.n_warmup_steps: unknown: one of min_resource, reduction_factor, bootstrap_count",
            ),
            (["pruner.name=none", "pruner.percentile=1"], "pruner.percentile: unknown: nothing can be set here"),
        ],
    )
    def test_a_misspelt_or_impossible_method(self, overrides, fault):
        """Samplers, pruners and their options are named, typed and combined as Optuna takes them."""
        assert faults(FIVE, *overrides) == [fault]

    def test_a_sampler_says_which_package_it_lacks(self, monkeypatch):
        """The fault of a sampler that needs more names all of it, before any worker fails on it."""
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        assert faults(FIVE, "sampler.name=gp") == [
            "sampler.name: gp needs the packages torch and scipy: pip install torch scipy"
        ]
        assert faults(FIVE, "sampler.name=cmaes") == ["sampler.name: cmaes needs the package cmaes: pip install cmaes"]


class TestFingerprint:
    """What makes two files one study."""

    @pytest.mark.parametrize(
        "overrides",
        [
            ["fixed.l1=0"],
            ["fixed.momentum=0.9", "fixed.batch_size=32"],
            ["space.dropout.low=0"],
            ["space.dropout={high = 0.5, low = 0}"],
            ["space.batch_norm=[false, true]"],
            ["data.train_limit=45000"],
            ["data.validation=5000", "data.name=cifar10"],
            ["study.name=other", "study.description=d", "study.priority=3", "study.keep_models=0"],
            ["budget.trials=3", "budget.hours=1", "budget.target=0.5", "budget.patience=9", "budget.early_stopping=2"],
            ["sampler.name=random", "pruner.name=none", "baseline=[{}]"],
        ],
    )
    def test_what_means_the_same_has_the_same_fingerprint(self, overrides):
        """Spelling, defaults written out, and what trials do not depend on make no difference."""
        assert read(FIVE, *overrides).fingerprint == read(FIVE).fingerprint
        assert read(FIVE).differences(read(FIVE, *overrides)) == []

    def test_the_order_of_the_file_makes_no_difference(self):
        """Keys may be moved about."""
        lines = FIVE.strip().splitlines()
        assert read("\n".join([lines[0], *reversed(lines[1:])])).fingerprint == read(FIVE).fingerprint

    @pytest.mark.parametrize(
        ("overrides", "differences"),
        [
            (["study.seed=1"], ["study.seed: 0 in the database, 1 in the file"]),
            (["study.metric=val_loss"], ["study.metric: 'val_accuracy' in the database, 'val_loss' in the file"]),
            (["budget.epochs=8"], ["budget.epochs: 30 in the database, 8 in the file"]),
            (["data.train_limit=5000"], ["data.train_limit: absent in the database, 5000 in the file"]),
            (["fixed.batch_size=64"], ["fixed.batch_size: 32 (the default) in the database, 64 in the file"]),
            (["space.learning_rate.low=1e-4"], ["space.learning_rate.low: 1e-05 in the database, 0.0001 in the file"]),
            (["space.learning_rate.log=false"], ["space.learning_rate.log: true in the database, absent in the file"]),
            (
                ["space.batch_norm=[true]"],
                ["space.batch_norm.choices: [false, true] in the database, [true] in the file"],
            ),
            (["space.l1=[0, 1]"], ["space.l1: not searched in the database, [0.0, 1.0] in the file"]),
            (
                ["fixed.dense_dropout=0.25"],
                ["fixed.dense_dropout: as dropout in the database, 0.25 in the file"],
            ),
        ],
    )
    def test_what_means_something_else_is_told_key_by_key(self, overrides, differences):
        """Another meaning is another fingerprint, and differences says where."""
        stored, file = read(FIVE), read(FIVE, *overrides)
        assert stored.fingerprint != file.fingerprint
        assert stored.differences(file) == differences

    def test_a_new_row_of_the_table_changes_no_fingerprint(self, monkeypatch):
        """Studies stay what they are when the service learns another hyperparameter."""
        before = read("[fixed]\nl1 = 0.1\n" + FIVE).fingerprint
        row = Hyperparameter("kernel_constraint", float, 0.5, "New.", 0.0, 1.0)
        monkeypatch.setattr(hyperparameters, "ROWS", (*hyperparameters.ROWS, row))
        assert "kernel_constraint" in fill_defaults({})
        assert read("[fixed]\nl1 = 0.1\n" + FIVE).fingerprint == before

    def test_the_default_study_keeps_its_fingerprint(self):
        """Stored studies are found again by later versions: this changes only with the default study's meaning."""
        assert study_spec.load(None).fingerprint == "b9b5043c5f71f452da43193748290e8d65dabb57237de4330f1ebdaa4f9d1702"


class TestJson:
    """The spec in the database."""

    STUDIES = (
        "",
        FIVE + MOMENTUM + "[[baseline]]\n[[baseline]]\noptimizer = 'adam'\n",
        "[fixed]\nl1 = 1\n[space]\nbatch_size = { low = 8, high = 64, step = 8 }\nl2 = [0, 1]\n" + GRID,
        "[pruner]\nname = 'asha'\n[sampler]\nname = 'cmaes'\npopsize = 6\n",
    )

    @pytest.mark.parametrize("text", STUDIES)
    def test_a_spec_survives_the_database(self, text):
        """What to_json wrote reads back equal, order of the space included, though Postgres sorts keys."""
        study = read(text)
        stored = json.loads(json.dumps(study.to_json(), sort_keys=True))
        back = StudySpec.from_json(stored)
        assert back == study
        assert list(back.space) == list(study.space)
        assert (back.fingerprint, back.searched) == (study.fingerprint, study.searched)
        assert study.sampler.name != "grid" or back.grid() == study.grid()

    @pytest.mark.parametrize("text", STUDIES)
    def test_a_spec_can_be_handed_to_another_process(self, text):
        """A spec pickles."""
        assert pickle.loads(pickle.dumps(read(text))) == read(text)

    def test_what_an_older_version_stored_still_reads(self):
        """Absent keys take their defaults; keys of a newer version are passed over."""
        stored = {
            "study": {"name": "old", "colour": "blue"},
            "budget": {"trials": 7},
            "space": [{"name": "dropout", "low": 0, "high": 1e-1}, {"name": "augment", "choices": [True, False]}],
            "sampler": {"name": "qmc"},
        }
        study = StudySpec.from_json(stored)
        assert (study.study.name, study.budget.trials, study.budget.epochs) == ("old", 7, 30)
        assert study.space["dropout"] == Range(0.0, 0.1)
        assert dict(study.sampler.options) == {"qmc_type": "sobol", "scramble": False}
        assert (study.pruner, study.baselines) == (read("").pruner, ())

    def test_a_stored_spec_reads_where_a_package_is_missing(self, monkeypatch):
        """Status and results of a study need none of what its sampler needs."""
        stored = read("[sampler]\nname = 'cmaes'\n").to_json()
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        assert StudySpec.from_json(stored).sampler.name == "cmaes"


class TestOptuna:
    """Optuna takes what the spec lets through."""

    @pytest.mark.parametrize("name", ["tpe", "qmc", "cmaes"])
    def test_the_samplers_defaults_are_optunas(self, name):
        """An option left out means what it means in Optuna 5."""
        samplers = pytest.importorskip("optuna").samplers
        made = {"tpe": samplers.TPESampler, "qmc": samplers.QMCSampler, "cmaes": samplers.CmaEsSampler}[name]()
        for option, value in read("", f"sampler.name={name}").sampler.options.items():
            theirs = getattr(made, f"_{option}")
            assert value == (True if option == "multivariate" and theirs is None else theirs)

    @pytest.mark.parametrize(
        ("name", "given"), [("median", {}), ("percentile", {"percentile": 60.0}), ("hyperband", {}), ("asha", {})]
    )
    def test_the_pruners_defaults_are_optunas(self, name, given):
        """An option left out means what it means in Optuna 5; only ASHA's resource is a number, not a guess."""
        pruners = pytest.importorskip("optuna").pruners
        kinds = {
            "median": pruners.MedianPruner,
            "percentile": pruners.PercentilePruner,
            "hyperband": pruners.HyperbandPruner,
            "asha": pruners.SuccessiveHalvingPruner,
        }
        made = kinds[name](**given)
        options = read(
            "", f"pruner.name={name}", *(f"pruner.{key}={value}" for key, value in given.items())
        ).pruner.options
        for option, value in options.items():
            assert value == (1 if (name, option) == ("asha", "min_resource") else getattr(made, f"_{option}"))
