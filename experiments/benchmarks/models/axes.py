"""The arrays of a problem for libraries that have the channels of space last."""


def channels_last(setting, x):
    """An input ``(.., channels, height, width)`` with the channels last; others as they are."""
    return x.transpose(0, 1, 3, 4, 2) if setting.kernel else x


def turned(setting, name: str, weight, back: bool = False, dense: str = "out, in"):
    """A weight to channels last, or its gradient back.

    **Arguments:** `dense`: the order of the axes of the library's dense weights.
    """
    if not setting.kernel:
        return weight if dense == "out, in" else weight.T
    if name == "in":
        return weight.transpose((3, 2, 0, 1) if back else (2, 3, 1, 0))
    channels, height, width = (setting.neurons[0], *(n // setting.pool for n in setting.neurons[1:]))
    flip = dense != "out, in"
    if back:
        weight = weight.T if flip else weight
        return weight.reshape(-1, height, width, channels).transpose(0, 3, 1, 2).reshape(weight.shape)
    weight = weight.reshape(-1, channels, height, width).transpose(0, 2, 3, 1).reshape(weight.shape)
    return weight.T if flip else weight
