"""Our own image network: what it computes of colours, against loops."""

import keras
import numpy as np

from systems.engine import small_cnn


def mirrored(place, size):
    return -place if place < 0 else 2 * size - 2 - place if place >= size else place


def test_self_similarity_is_that_of_a_loop():
    x = np.random.default_rng(1).uniform(-1, 1, (2, 20, 32, 3))
    expected = np.zeros((2, 5, 8, 12, 12))
    for b, row, column, i, j in np.ndindex(expected.shape):
        y, z = 4 * row, 4 * column
        own = x[b, y + 1 : y + 3, z + 1 : z + 3].mean(axis=(0, 1))
        near = mirrored(y - 4 + i, 20), mirrored(z - 4 + j, 32)  # six on each side of the middle
        expected[b, row, column, i, j] = np.exp(-((x[b, *near] - own) ** 2).sum() / (2 * 0.35**2))
    layer = small_cnn.SelfSimilarity()
    got = layer(x.astype(np.float32))
    np.testing.assert_allclose(got, expected.reshape(2, 5, 8, 144), rtol=1e-4, atol=1e-6)
    assert layer.compute_output_shape((None, 20, None, 3)) == (None, 5, None, 144)


def test_self_similarity_shows_a_shape_whatever_its_colour():
    shapes = np.zeros((3, 32, 32, 3), np.float32)
    for one, (ground, colour) in zip(shapes, ((-1, 1), (1, -1), (0, [1, -1, 0])), strict=True):
        one[:] = ground
        one[8:20, 8:24] = colour
    alike = np.array(small_cnn.SelfSimilarity()(shapes))
    np.testing.assert_allclose(alike[1], alike[0], atol=1e-3)
    np.testing.assert_allclose(alike[2], alike[0], atol=1e-2)
    assert alike[0, 2, 2].min() < 1e-6 and alike[0, 2, 2].max() == 1.0


def silhouette(picture, row, column):
    """(144,) likeness and 5 numbers of one place, by loops over (S, S, 3) pixels."""
    cells = [(i, j) for i in range(len(picture) // 4) for j in range(len(picture[0]) // 4)]
    colours = {
        (i, j): picture[4 * i : 4 * i + 4, 4 * j : 4 * j + 4].mean(axis=(0, 1)) for i, j in cells
    }
    own = picture[4 * row + 1 : 4 * row + 3, 4 * column + 1 : 4 * column + 3].mean(axis=(0, 1))
    weight = {}
    for i, j in cells:
        apart, steps = ((colours[i, j] - own) ** 2).sum(), (i - row) ** 2 + (j - column) ** 2
        weight[i, j] = np.exp(-apart / (2 * 0.35**2) - steps / (2 * 3.0**2))
    area = sum(weight.values())
    middle = np.sum([weight[i, j] * np.array([j, i]) for i, j in cells], axis=0) / area
    spread = np.sum([weight[i, j] * (np.array([j, i]) - middle) ** 2 for i, j in cells], axis=0)
    extent = np.sqrt(spread / area + 1 / 12)
    reach, alike = 2 * extent.max(), []
    for v in range(12):
        for u in range(12):
            x, y = (
                int(np.floor(4 * (m + 0.5 + reach * ((k + 0.5) / 6 - 1))))
                for m, k in zip(middle, (u, v), strict=True)
            )
            seen = picture[min(max(y, 0), len(picture) - 1), min(max(x, 0), len(picture[0]) - 1)]
            alike.append(np.exp(-((seen - own) ** 2).sum() / (2 * 0.35**2)))
    size = np.array([len(picture[0]) // 4, len(picture) // 4])
    return np.array([*alike, area / 9, *(2 * (middle + 0.5) / size - 1), *(extent / 3)])


def test_a_silhouette_is_that_of_a_loop():
    x = np.random.default_rng(1).uniform(-1, 1, (2, 20, 32, 3))
    x[:, 6:15, 9:22] = [0.9, -0.8, 0.1]
    layer = small_cnn.Silhouette(dtype="float64")
    got = np.array(layer(x))
    assert got.shape == (2, 5, 8, 149)
    assert layer.compute_output_shape((None, 20, None, 3)) == (None, 5, None, 149)
    for place in ((0, 0), (2, 3), (2, 4), (4, 7)):
        np.testing.assert_allclose(got[1][place], silhouette(x[1], *place), rtol=1e-6, atol=1e-9)


def test_a_silhouette_is_the_same_elsewhere_in_another_colour_and_nearly_so_in_another_size():
    shapes = np.zeros((4, 64, 64, 3), np.float32)
    for one, (top, left, high, wide, colour) in zip(
        shapes, ((8, 8, 8, 12, 1), (40, 32, 8, 12, 1), (8, 8, 8, 12, -1), (8, 8, 16, 24, 1)),
        strict=True,
    ):  # fmt: skip
        one[top : top + high, left : left + wide] = colour
    found = np.array(small_cnn.Silhouette()(shapes))
    places = found[0, 2, 3], found[1, 10, 9], found[2, 2, 3], found[3, 3, 4]
    windows, numbers = zip(*((one[:144], one[144:]) for one in places), strict=True)
    np.testing.assert_allclose(windows[1], windows[0], atol=1e-3)
    np.testing.assert_allclose(windows[2], windows[0], atol=1e-3)
    plain = np.array(small_cnn.SelfSimilarity()(shapes))
    unlike = np.abs(windows[3] - windows[0]).mean()
    assert unlike < 0.5 * np.abs(plain[3, 3, 4] - plain[0, 2, 3]).mean()
    area, x, y, *extents = np.array(numbers).T
    assert area[3] > 2 * area[0] and all(each[3] > 1.5 * each[0] for each in extents)
    np.testing.assert_allclose([area[1], x[1] - x[0], y[1] - y[0]], [area[0], 0.75, 1.0], atol=1e-3)


def boxes(mask):
    """(H, W, 4) of a (H, W) bool mask, by filling each figure from a pixel of it."""
    high, wide = mask.shape
    found = np.zeros((high, wide, 4))
    for start in np.argwhere(mask):
        seen, waiting = set(), [tuple(start)]
        while waiting:
            y, x = waiting.pop()
            if (y, x) in seen or not (0 <= y < high and 0 <= x < wide and mask[y, x]):
                continue
            seen.add((y, x))
            waiting += [(y + i, x + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
        rows, columns = zip(*seen, strict=True)
        reach = max(columns) + 1, max(rows) + 1, wide - min(columns), high - min(rows)
        found[tuple(start)] = reach
    return found


def test_boxes_are_those_of_filled_figures():
    masks = np.random.default_rng(3).random((3, 14, 20)) < 0.3
    found = np.array(small_cnn.boxes_of(masks))
    np.testing.assert_array_equal(found, [boxes(mask) for mask in masks])


def test_ground_is_what_much_of_the_rim_is_like():
    x = np.full((1, 32, 32, 3), -1.0, np.float32)
    x[0, 12:20, 12:20] = 1.0
    x[0, :, 28:] = [1.0, 1.0, -1.0]  # of each side every second cell is read: 16 in all
    found = np.array(small_cnn.ground(x))[0]
    share = np.array([11 / 16, 5 / 16])  # four at the right, one above: it has no corner twice
    expected = share**2 / (share**2 + 0.15**2)
    np.testing.assert_allclose([found[5, 5], found[9, 30]], expected, rtol=1e-5)
    assert found[15, 15] < 1e-6


def test_a_figure_is_the_same_elsewhere_in_another_size_and_of_other_colours():
    shapes = np.zeros((4, 64, 64, 3), np.float32)
    for one, (top, left, scale) in zip(
        shapes, ((8, 12, 1), (36, 24, 1), (8, 12, 2), (8, 12, 1)), strict=True
    ):
        for y, x, high, wide in ((0, 0, 4, 16), (4, 4, 12, 8)):  # a T
            rows = slice(top + scale * y, top + scale * (y + high))
            one[rows, left + scale * x : left + scale * (x + wide)] = 0.9
    shapes[3, 8:12, 12:20] = [0.9, -0.9, -0.9]  # a part in red, beside one in white
    found = np.array(small_cnn.Figure()(shapes))
    assert found.shape == (4, 16, 16, 309)
    double = small_cnn.Figure(dtype="float64")(shapes.astype("float64"))
    np.testing.assert_allclose(double, found, atol=1e-5)
    assert small_cnn.Figure().compute_output_shape((None, 64, None, 3)) == (None, 16, None, 309)
    first, moved, larger, red = found[0, 2, 3], found[1, 9, 6], found[2, 3, 4], found[3, 2, 3]
    for other in (moved, larger):
        np.testing.assert_allclose(other[:288], first[:288], atol=1e-5)
    np.testing.assert_allclose(red[:144], first[:144], atol=1e-5)  # the shape
    assert np.abs(red[144:288] - first[144:288]).max() > 0.9  # the colours
    assert not found[0, 12, 12].any()  # ground
    points = 8 * 1.15 * ((np.arange(12) + 0.5) / 6 - 1)  # of the window, from its middle
    inside = [
        (-8 <= y < -4 and -8 <= x < 8) or (-4 <= y < 8 and -4 <= x < 4)
        for y in points
        for x in points
    ]
    np.testing.assert_allclose(first[:144], inside, atol=0.05)
    # Half sides of 8 pixels; there; size 0.5 between the lines 0.4 and 0.6; middle (20, 16) of 64.
    expected = np.zeros(21)
    expected[:3] = 1
    expected[[5, 6]] = 2 * 0.5
    expected[[10, 11]] = 2 * 0.4375, 2 * 0.5625
    expected[[16, 17]] = 2 * 0.75, 2 * 0.25
    np.testing.assert_allclose(first[288:], expected, atol=1e-5)


def test_grey_fills_the_last_cells():
    x = np.ones((1, 9, 16, 2), np.float32)
    whole = np.array(small_cnn.WholeCells(8)(x))
    assert whole.shape == (1, 16, 16, 2) and (whole[:, :9] == 1).all() and not whole[:, 9:].any()
    assert small_cnn.WholeCells(8).compute_output_shape((None, 9, None, 2)) == (None, 16, None, 2)


def test_the_network_reads_what_places_are_like():
    keras.utils.set_random_seed(0)
    pixels = keras.Input((None, None, 3))
    network = keras.Model(pixels, small_cnn.small_network(pixels))
    x = np.random.default_rng(2).uniform(-1, 1, (2, 16, 24, 3)).astype(np.float32)
    cells = x.reshape(2, 4, 4, 6, 4, 3)
    middle = cells[:, :, 1:3, :, 1:3].mean(axis=(2, 4))
    colours = [middle, cells.mean(axis=(2, 4)), cells.max(axis=(2, 4)), (-cells).max(axis=(2, 4))]
    like = [small_cnn.SelfSimilarity()(x), small_cnn.Silhouette()(x)]
    like.append(small_cnn.Figure()(x))
    rows = np.concatenate([*colours, *like], axis=-1)
    for number in (1, 2):
        kernel = network.get_layer(f"small_{number}").get_weights()[0][0, 0]
        rows = np.maximum(rows @ kernel / np.sqrt(1 + 1e-3), 0)  # batch norm as it begins
    expected = rows.reshape(2, 2, 2, 3, 2, 128).max(axis=(2, 4))
    np.testing.assert_allclose(network(x, training=False), expected, rtol=1e-4, atol=1e-5)
