"""Which trials are trained on, chosen by, and judged by."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int, Shaped

SPLITS = ("train", "validation", "test")


def stratified(labels: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of two parts of a labelled set, the second with `fraction` of every class."""
    rng = np.random.default_rng(seed)
    kept, held = [], []
    for label in np.unique(labels):
        index = rng.permutation(np.flatnonzero(labels == label))
        n = round(fraction * len(index))
        held.append(index[:n])
        kept.append(index[n:])
    return np.sort(np.concatenate(kept)), np.sort(np.concatenate(held))


def grouped(groups: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of two parts of a set, the second with all of `fraction` of the groups, and of one at least."""
    known = np.unique(groups)
    count = max(round(fraction * len(known)), 1)
    out = np.isin(groups, np.random.default_rng(seed).permutation(known)[:count])
    return np.flatnonzero(~out), np.flatnonzero(out)


def split_trials(
    count: int,
    *,
    classes: Int[np.ndarray, " trials"] | None = None,
    names: Sequence[str] = (),
    groups: Shaped[np.ndarray, " _"] | None = None,
    split: Sequence[str] | Mapping[str, Sequence[int]] | np.ndarray | None = None,
    validation: float = 0.1,
    test: float = 0.2,
    seed: int = 0,
) -> dict[str, Int[np.ndarray, " part"]]:
    """Indices of the trials of every split, in order.

    First `test`, a fraction of the trials, is taken out, then `validation`, a fraction of the rest: of every
    class if there are classes, and of the groups if there are groups, so that no group is in two splits.

    **Arguments:** `count`: number of trials; `classes` of the trials and their `names`; `groups` of the
    trials, such as subjects or sessions; `split`: what is known, a word a trial (``"train"``,
    ``"validation"``, ``"test"``) or indices by such a word; where there is no validation in it, that is taken
    out of the training trials; `seed`: of the validation split (the test split is always the same).

    **Raises:** `ValueError` for fractions out of range, words that are no splits, trials that are in two, a
    split without trials, a group in two splits, and a class that is in no training trial.
    """
    for name, fraction in (("validation", validation), ("test", test)):
        if not 0 < fraction < 1:
            raise ValueError(f"`{name}` is {fraction}, but must be a fraction above 0 and below 1")
    if groups is not None and len(groups) != count:
        raise ValueError(f"`groups` has {len(groups)} entries for {count} trials: give one for each")
    if groups is not None and split is None and len(np.unique(groups)) < len(SPLITS):
        raise ValueError(
            f"`groups` has {len(np.unique(groups))}, which cannot be parted among train, validation and "
            "test: give three or more, or say in `split` where each trial belongs"
        )

    def out_of(index: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
        own = np.zeros(count, int) if classes is None else classes
        kept, held = (
            stratified(own[index], fraction, seed)
            if groups is None
            else grouped(groups[index], fraction, seed)
        )
        return index[kept], index[held]

    if split is None:
        rest, held = out_of(np.arange(count), test, 0)
        found = {"train": rest, "test": held}
    else:
        found = _given(split, count)
    if "validation" not in found and len(found["train"]):
        found["train"], found["validation"] = out_of(found["train"], validation, seed)
    _check_filled(found, split is not None)
    if groups is not None:
        _check_groups(found, groups)
    if classes is not None:
        _check_classes(found, classes, names)
    return {name: found[name] for name in SPLITS}


def _given(
    split: Sequence[str] | Mapping[str, Sequence[int]] | np.ndarray, count: int
) -> dict[str, np.ndarray]:
    """What a user says of the splits, as indices; the train and the test split are there, if empty."""
    empty = {name: np.zeros(0, int) for name in ("train", "test")}
    if isinstance(split, Mapping):
        unknown = [name for name in split if name not in SPLITS]
        if unknown:
            raise ValueError(f"`split` names {unknown[0]!r}, but the splits are {', '.join(SPLITS)}")
        found = {name: np.asarray(index, int).reshape(-1) for name, index in split.items()}
        for name, index in found.items():
            if len(index) and not 0 <= index.min() <= index.max() < count:
                raise ValueError(
                    f"`split`: {name} has trials from {index.min()} to {index.max()}, but there are {count}: "
                    f"number them 0 to {count - 1}"
                )
        every = np.concatenate(list(found.values()))
        if len(np.unique(every)) < len(every):
            twice = np.flatnonzero(np.bincount(every) > 1)[0]
            raise ValueError(f"`split` names trial {twice} twice: a trial is in one split, once")
        return empty | found
    words = np.asarray(split)
    if len(words) != count:
        raise ValueError(f"`split` has {len(words)} words for {count} trials: give one for each")
    unknown = [str(word) for word in np.unique(words) if str(word) not in SPLITS]
    if unknown:
        raise ValueError(f"`split` has the word {unknown[0]!r}, but the splits are {', '.join(SPLITS)}")
    found = {name: np.flatnonzero(words == name) for name in SPLITS}
    return empty | {name: index for name, index in found.items() if len(index)}


def _check_filled(found: Mapping[str, np.ndarray], given: bool) -> None:
    remedies = {"train": "hold out less", "validation": "hold out a larger fraction"}
    for name in SPLITS:
        if not len(found.get(name, ())):
            known = remedies.get(name, "hold out a larger fraction")
            remedy = f"put some into `split`, or {known}" if given else known
            raise ValueError(f"the {name} split has no trial: {remedy}")


def _check_groups(found: Mapping[str, np.ndarray], groups: np.ndarray) -> None:
    known, number = np.unique(groups, return_inverse=True)
    inside = np.zeros((len(SPLITS), len(known)), bool)
    for k, name in enumerate(SPLITS):
        inside[k, number[found[name]]] = True
    several = inside.sum(axis=0) > 1
    if several.any():
        group = int(np.argmax(several))
        places = [name for name, there in zip(SPLITS, inside[:, group], strict=True) if there]
        raise ValueError(
            f"`split` puts group {known[group]} into {' and '.join(places)}: keep a group together, or leave "
            "out `groups`"
        )


def _check_classes(found: Mapping[str, np.ndarray], classes: np.ndarray, names: Sequence[str]) -> None:
    for name in SPLITS[1:]:
        missing = np.setdiff1d(classes[found[name]], classes[found["train"]])
        if len(missing):
            shown = names[missing[0]] if len(names) > missing[0] else missing[0]
            raise ValueError(
                f"class {shown} is in the {name} split and in no training trial, so that it cannot be "
                "learnt: split in another way"
            )


__all__ = ["SPLITS", "grouped", "split_trials", "stratified"]
