"""Items of the bundle, items added since, and filters over both."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsvc.bundle import Bundle, load_bundle
from recsvc.candidates import scan
from recsvc.catalogue import ENCODE_ROWS, Catalogue
from recsvc.contract.errors import SchemaError
from tests.recsvc.bundles import BLACK, COLOUR_KERNEL, ITEM_IDS, WHITE, tags_of, write_world


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    directory: Path = tmp_path_factory.mktemp("world")
    write_world(directory, "v1")
    return load_bundle(directory)


@pytest.fixture
def catalogue(bundle: Bundle) -> Catalogue:
    return Catalogue(bundle)


def ids_where(catalogue: Catalogue, column: str, value: Any) -> set[str]:
    mask = catalogue.mask(column, value) & catalogue.visible
    return {catalogue.ids[row] for row in np.flatnonzero(mask)}


def test_the_inner_loop_sees_added_items_as_they_are_scored(tmp_path: Path) -> None:
    """Trained items have vectors of their own there, others have one vector for both."""
    write_world(tmp_path, "v1", swapped=True)
    catalogue = Catalogue(load_bundle(tmp_path))
    catalogue.apply([("new", {"colour": "black"})])
    rows = [0, len(ITEM_IDS)]
    assert catalogue.inner_vectors(rows).tolist() == [[0.0, 1.0], [1.0, 0.0]]
    assert catalogue.vectors(rows).tolist() == [[1.0, 0.0], [1.0, 0.0]]


def test_an_added_item_is_scored_from_its_features(catalogue: Catalogue) -> None:
    """A new black item lies along black, with the bias of new items."""
    catalogue.apply([("new", {"colour": "black"})])
    row = catalogue.row("new")
    assert row == len(ITEM_IDS)
    scores_N = scan(np.asarray([1, 0], dtype=np.float32), catalogue.blocks)
    assert np.float32(1.05) == scores_N[row]
    assert catalogue.vectors([row]).tolist() == [[1.0, 0.0]]


def test_a_hidden_item_is_not_visible_and_comes_back(catalogue: Catalogue) -> None:
    """Hiding and putting again restores an item, trained or added."""
    catalogue.apply([("new", {"colour": "white"})])
    for item_id in ("new", BLACK[0]):
        catalogue.apply([(item_id, None)])
        assert catalogue.row(item_id) is None
        catalogue.apply([(item_id, {"colour": "white"})])
        assert catalogue.row(item_id) is not None


def test_a_hidden_trained_item_is_still_evidence(catalogue: Catalogue) -> None:
    """What a user did with a trained item counts on; an added one that is gone does not."""
    catalogue.apply([("new", {"colour": "white"}), (BLACK[0], None)])
    catalogue.apply([("new", None)])
    assert catalogue.evidence_row(BLACK[0]) == 0
    assert catalogue.evidence_row("new") is None


def test_a_trained_item_keeps_its_vector(catalogue: Catalogue, bundle: Bundle) -> None:
    """New features change a trained item's attributes, not what was learned of it."""
    catalogue.apply([(BLACK[0], {"colour": "white"})])
    np.testing.assert_array_equal(bundle.vectors_ND[:1], catalogue.vectors([0]))
    assert BLACK[0] in ids_where(catalogue, "colour", "white")
    assert catalogue.features(0) == {"colour": "white"}


def test_many_added_items_stay_in_one_block(catalogue: Catalogue) -> None:
    """Adding more than one encoding's worth keeps two blocks and every row right."""
    count = ENCODE_ROWS + 100
    colours = ("black", "white")
    catalogue.apply([(f"n{i}", {"colour": colours[i % 2]}) for i in range(count)])
    assert [len(ITEM_IDS), count] == [len(bias) for _, bias in catalogue.blocks]
    rows = [catalogue.row(f"n{i}") for i in range(count)]
    assert list(range(len(ITEM_IDS), len(ITEM_IDS) + count)) == rows
    expected = np.eye(2, dtype=np.float32)[np.arange(count) % 2]
    np.testing.assert_array_equal(expected, catalogue.vectors([r for r in rows if r is not None]))


def test_the_last_change_of_an_item_wins(catalogue: Catalogue) -> None:
    """Several changes of one item in one batch are as if only the last had come."""
    catalogue.apply([("new", {"colour": "black"}), ("new", None), ("new", {"colour": "white"})])
    row = catalogue.row("new")
    assert row is not None
    assert catalogue.vectors([row]).tolist() == [[0.0, 1.0]]


def test_filters_match_equal_values_and_members(catalogue: Catalogue) -> None:
    """A category must be equal, a list must hold it, a number may be written in any way."""
    assert set(WHITE) == ids_where(catalogue, "colour", "white")
    low = {i for i in ITEM_IDS if "low" in tags_of(int(i[-2:]))}
    assert low == ids_where(catalogue, "tags", "low")
    for year in (1993, 1993.0, "1993"):
        assert {BLACK[3], WHITE[3]} == ids_where(catalogue, "year", year)
    assert {BLACK[7]} == ids_where(catalogue, "title", "The black-07")


def test_filters_follow_changes(catalogue: Catalogue) -> None:
    """A filter that was used before sees items that come and change after."""
    before = ids_where(catalogue, "tags", "low")
    catalogue.apply([(f"new-{i}", {"tags": ["low", "odd"]}) for i in range(100)])
    assert before | {f"new-{i}" for i in range(100)} == ids_where(catalogue, "tags", "low")
    catalogue.apply([("new-0", {"tags": "even"})])
    assert "new-0" not in ids_where(catalogue, "tags", "low")


def test_features_leave_out_what_has_no_value(catalogue: Catalogue) -> None:
    """An item's features are those it has."""
    assert (catalogue.features(1)) == {
        "colour": "black",
        "tags": "odd|low",
        "year": 1991,
        "title": "The black-01",
    }
    assert "title" not in catalogue.features(len(ITEM_IDS) - 1)


def test_what_cannot_be_encoded_is_hidden_and_named(catalogue: Catalogue) -> None:
    """One wrong item among many is left out; the others are taken."""
    refused = catalogue.apply(
        [("good", {"year": 2000}), ("bad", {"year": "soon"}), ("fine", {"colour": "black"})]
    )
    assert refused == ["bad"]
    assert catalogue.row("bad") is None
    assert catalogue.row("good") is not None
    assert catalogue.row("fine") is not None


def test_wrong_features_are_refused_before_they_are_stored(catalogue: Catalogue) -> None:
    """A check names wrong values and columns that do not exist."""
    assert catalogue.check({"colour": "black", "size": 3}) == ["size"]
    with pytest.raises(SchemaError):
        catalogue.check({"year": "soon", "colour": "black"})


def test_a_number_beyond_all_bounds_does_not_lead_the_list(catalogue: Catalogue) -> None:
    """It is read as an extreme value, not extrapolated: the vector stays within reason."""
    catalogue.apply([("far", {"year": 1e300}), ("farther", {"year": -1e300})])
    vectors = catalogue.vectors(
        [r for r in map(catalogue.row, ("far", "farther")) if r is not None]
    )
    assert vectors.shape[0] == 2
    assert abs(vectors).max() < 100


def test_a_moved_item_is_scored_where_it_was_moved_to(catalogue: Catalogue) -> None:
    """Its prior is kept; its own new features, or a restoration, put it back there."""
    catalogue.apply([("new", {"colour": "black"})])
    row = catalogue.untrained_row("new")
    assert row is not None
    for _ in range(2):
        catalogue.move(row, np.asarray([0, 2], dtype=np.float32), np.float32(-1))
    assert (catalogue.vectors([row]).tolist(), catalogue.biases([row]).tolist()) == ([[0, 2]], [-1])
    assert [part.tolist() for part in catalogue.priors([row])] == [[[1, 0]], [np.float32(0.05)]]
    catalogue.restore(row)
    assert catalogue.vectors([row]).tolist() == [[1, 0]]
    catalogue.move(row, np.asarray([0, 2], dtype=np.float32), np.float32(-1))
    catalogue.apply([("new", {"colour": "white"})])
    assert catalogue.vectors([row]).tolist() == [[0, 1]]
    assert catalogue.priors([row])[0].tolist() == [[0, 1]]


def test_items_of_the_bundle_without_training_move_too(tmp_path: Path) -> None:
    """They start where the bundle put them and follow their features; trained items never move."""
    write_world(tmp_path, "v1", kernel=COLOUR_KERNEL)
    bundle = load_bundle(tmp_path)
    catalogue = Catalogue(bundle)
    assert catalogue.untrained_row(WHITE[0]) is None
    row = catalogue.untrained_row(WHITE[-1])
    assert row == len(ITEM_IDS) - 1
    np.testing.assert_array_equal(catalogue.vectors([row]), bundle.vectors_ND[[row]])
    catalogue.move(row, np.asarray([3, 3], dtype=np.float32), np.float32(0))
    scores_N = scan(np.asarray([1, 0], dtype=np.float32), catalogue.blocks)
    assert (scores_N[row], len(scores_N)) == (3, len(ITEM_IDS))
    catalogue.apply([(WHITE[-1], {"colour": "black"}), ("new", {"colour": "white"})])
    assert catalogue.vectors([row, row + 1]).tolist() == [[1, 0], [0, 1]]
    assert (catalogue.is_of_bundle(WHITE[-1]), catalogue.is_of_bundle("new")) == (True, False)
