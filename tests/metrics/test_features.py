"""Features: what they learn, that they are kept, and that a damaged file is made again."""

import numpy as np
import pytest

import minigen
from minigen.data import Dataset, held_out, shapes
from minigen.metrics import Features, classifier

pytest.importorskip("tqdm")


@pytest.fixture(autouse=True)
def kept(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "minigen"


def halves(labels=(3, 7), n=200, **attributes):
    """The upper half of an image is bright, or the lower, which is its label; red or blue, which is its attribute."""
    rng = np.random.default_rng(0)
    kind, tint = rng.integers(0, 2, (2, n))
    images = rng.integers(0, 60, (n, 8, 12, 3))
    for i in range(n):
        images[i, 4 * kind[i] : 4 * kind[i] + 4, :, 2 * tint[i]] += 150
    known = {"tint": 5 * tint} if attributes.get("tint") else None
    return Dataset(images.astype(np.uint8), np.array(labels)[kind], "halves", attributes=known)


def test_reads_the_labels_and_attributes_of_images_that_it_has_not_seen():
    data = halves(tint=True)
    features = Features(data)
    assert features.accuracy == {"label": 1.0, "tint": 1.0}
    np.testing.assert_array_equal(features.read(data.images), data.labels)
    np.testing.assert_array_equal(features.attributes(data.images)["tint"], data.attributes["tint"])
    assert set(features.attributes(data.images)) == {"tint"}
    p = features.probabilities(data.images)
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-5)
    np.testing.assert_array_equal(p[:, 1] > 0.5, data.labels == 7)


def test_reads_volumes_too():
    labels = np.arange(400) % 2
    grids = np.random.default_rng(0).integers(0, 120, (400, 4, 8, 4, 1)).astype(np.uint8)
    grids[labels == 1, :2] += 60  # the front is fuller
    data = Dataset(grids, labels, "blocks")
    features = Features(data)
    assert features.accuracy == {"label": 1.0}
    assert features(grids).shape == (400, 64)
    with pytest.raises(
        ValueError, match=r"needs images uint8 \(N, 4, 8, 4, 1\), got uint8 of shape \(400, 8, 4, 4, 1\)"
    ):
        features(grids.swapaxes(1, 2))
    with pytest.raises(ValueError, match="multiples of 4, got 4 x 6 x 4"):
        Features(Dataset(grids[:, :, :6], labels))


def test_features_are_standardised_over_what_was_learned_from():
    data = halves()
    x = Features(data)(held_out(data)[0].images)
    assert x.dtype == np.float32 and x.shape == (160, 64)
    np.testing.assert_allclose(x.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(x.std(0), 1, rtol=1e-3)


def test_the_held_out_images_change_nothing(kept):
    data = halves()
    seen = Features(data).classifier.state_dict()
    rows = np.random.default_rng(0).permutation(len(data))[160:]  # the held-out ones
    images = data.images.copy()
    images[rows] = 255 - images[rows]
    other = Features(Dataset(images, data.labels, data.name)).classifier.state_dict()
    assert len(list(kept.iterdir())) == 2  # it did learn again
    for name, value in seen.items():
        np.testing.assert_array_equal(other[name], value)


def test_a_file_is_kept_and_taken_only_for_the_same_data_and_settings(monkeypatch):
    first = Features(halves())
    monkeypatch.setattr(classifier, "_descend", lambda *_: pytest.fail("learned again"))
    again = Features(halves())
    assert again.accuracy == first.accuracy
    np.testing.assert_array_equal(again(halves().images), first(halves().images))
    np.testing.assert_array_equal(again.read(halves().images), first.read(halves().images))
    changed = halves()
    changed.images[0, 0, 0] += 1
    relabelled = halves()
    relabelled.labels[0] = 3 + 7 - relabelled.labels[0]
    for other in (changed, relabelled, Dataset(halves().images, halves().labels, "other name")):
        with pytest.raises(pytest.fail.Exception, match="learned again"):
            Features(other)
    monkeypatch.setattr("minigen.metrics.features.SETTINGS", ())
    with pytest.raises(pytest.fail.Exception, match="learned again"):
        Features(halves())


@pytest.mark.parametrize("damage", ["cut off", "of something else"])
def test_a_damaged_file_is_made_again(kept, capsys, damage):
    first = Features(halves())
    (file,) = kept.iterdir()
    whole = file.read_bytes()
    if damage == "cut off":
        file.write_bytes(whole[: len(whole) // 2])
    else:
        minigen.save({"values": {"label": np.arange(3)}, "accuracy": {}, "classifier": {}}, file)
    second = Features(halves())
    assert "is broken" in capsys.readouterr().out
    assert second.accuracy == first.accuracy
    np.testing.assert_array_equal(second(halves().images), first(halves().images))
    assert len(file.read_bytes()) == len(whole)


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert Features(halves()).accuracy["label"] == 1
    assert "cannot be kept" in capsys.readouterr().out


def test_nothing_is_drawn_from_the_default_generator():
    generator = minigen.manual_seed(5)
    state = generator.state_dict()
    one = Features(halves())
    assert generator.state_dict() == state
    one.path.unlink()
    minigen.randn(3)
    np.testing.assert_array_equal(Features(halves())(halves().images), one(halves().images))


def test_without_labels_the_network_stays_as_it_is_initialised(capsys):
    unknown = Dataset(halves().images, name="unknown")
    features = Features(unknown)
    assert "'unknown' has no labels of two kinds or more" in capsys.readouterr().out
    assert features.accuracy == {} and features.attributes(unknown.images) == {}
    assert features(unknown.images).std() == pytest.approx(1, abs=0.1)
    with pytest.raises(ValueError, match="none can be read"):
        features.read(unknown.images)
    assert Features(Dataset(halves().images, np.full(200, 4))).accuracy == {}  # one class is none


def test_a_classifier_of_shapes_learns_from_others_and_from_the_held_out_pairs(monkeypatch):
    seen = []
    monkeypatch.setattr(classifier, "DRAWN", 80)
    monkeypatch.setattr(classifier, "_descend", lambda c, images, known, where: seen.append((images, known)))
    data = shapes(200)
    assert set(Features(data).accuracy) == {"label", *data.attributes}
    ((images, known),) = seen
    assert len(images) == 90 and all(len(values) == 90 for values in known.values())
    pairs = {(s, c) for s, c in zip(known["shape"], known["colour"], strict=True)}
    rare = shapes(50, held_out=True).attributes
    assert pairs & set(zip(rare["shape"], rare["colour"], strict=True))
    ours = {image.tobytes() for image in data.images}
    assert not any(image.tobytes() in ours for image in images)


def test_images_that_do_not_fit_are_refused():
    features = Features(Dataset(halves().images[:12]))
    for images in (np.zeros((2, 8, 8, 3), np.uint8), np.zeros((2, 8, 12, 3)), np.zeros((0, 8, 12, 3), np.uint8)):
        with pytest.raises(ValueError, match=r"needs images uint8 \(N, 8, 12, 3\), got"):
            features(images)
    with pytest.raises(ValueError, match="multiples of 4, got 8 x 10"):
        Features(Dataset(np.zeros((12, 8, 10, 1), np.uint8)))
