"""Fields without names: put in order from older blocks, and compared by name."""

from __future__ import annotations

import msgspec
import pytest
from msgspec import Struct, field

from detector.forms import disagreement, forms_of, without_names


class Leaf(Struct, array_like=True):
    """A form without names."""

    count: int
    seen: list[int] = field(default_factory=list)


class Tree(Struct, array_like=True):
    """One with all the ways a form stands in another."""

    leaf: Leaf | None = None
    by_key: dict[tuple[int, int], Leaf] = field(default_factory=dict)
    leaves: list[Leaf] = field(default_factory=list)
    word: str = "new"


class Top(Struct):
    """One that keeps its names."""

    tree: Tree


NAMED = {
    "tree": {
        "leaves": [{"seen": [3], "count": 1}, [2, [4]]],
        "by_key": {(1, 2): {"count": 5}},
        "leaf": {"count": 6},
        "gone": 1,
    }
}


def test_named_fields_are_put_in_order() -> None:
    """Fields with names at any depth are read as if they had been written without."""
    tree = NAMED["tree"]
    found = msgspec.convert(without_names(tree, Tree), Tree)
    assert found == Tree(Leaf(6), {(1, 2): Leaf(5)}, [Leaf(1, [3]), Leaf(2, [4])])


def test_form_without_all_fields_is_refused() -> None:
    """A field that has no default must be there."""
    with pytest.raises(ValueError, match="field count is missing"):
        without_names({"leaf": {"seen": []}}, Tree)


def test_every_unnamed_form_is_listed() -> None:
    """Forms inside lists, dicts and options are known, those with names are not."""
    found = forms_of(Top)
    assert [name.rpartition(".")[2] for name in found] == ["Leaf", "Tree"]
    assert list(found.values()) == [["count", "seen"], [*Tree.__struct_fields__]]


@pytest.mark.parametrize(
    ("written", "wrong"),
    [
        (["a", "b"], ""),
        (["a"], ""),
        (["a", "b", "c", "later"], ""),
        (["b", "a"], "b of x.Y"),
        (["a", "c"], "c of x.Y"),
    ],
)
def test_only_the_end_may_differ(written: list[str], wrong: str) -> None:
    """Fields come and go at the end of a form; anywhere else the first is named."""
    assert disagreement({"x.Y": written}, {"x.Y": ["a", "b", "c"]}) == wrong
