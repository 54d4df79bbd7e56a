"""A dimension of the search space."""

from hpsearch.spec.dimension import Choices, Range
from tests.support.study_files import read


def test_dimensions_come_in_the_order_of_the_file_and_the_types_of_the_table() -> None:
    """A list is choices, a table a range, and whole numbers become floats where the hyperparameter is one."""
    space = read(
        "[space]\nl2 = [0, 1]\nbatch_size = { low = 8, high = 64, step = 8 }\ndropout = { low = 0, high = 0.5 }"
    ).space
    assert list(space) == ["l2", "batch_size", "dropout"]
    assert space["l2"] == Choices((0.0, 1.0))
    assert [type(value) for value in space["l2"].list_points()] == [float, float]
    assert space["batch_size"] == Range(8, 64, step=8, integer=True)
    dropout = space["dropout"]
    assert isinstance(dropout, Range)
    assert type(dropout.low) is float
