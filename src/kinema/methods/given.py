"""Methods as a user names them: built-in rows, estimators of their own, a class in a file."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from sklearn.base import clone

from kinema.methods import METHODS
from kinema.methods.options import Options
from kinema.own import is_place, load_class

Methods = Sequence[str] | Mapping[str, Any]
"""Names of `METHODS` or classes as FILE.py:ClassName; or estimators by the name of their row, where
such a name may stand for one."""


def build(methods: Methods, options: Options) -> dict[str, Any]:
    """An estimator for each row, none of them fitted; see Note [Method].

    Raises:
        ValueError: a name is unknown or given twice, there is none; an estimator lacks what a
            method must have; a setting would fail once videos are decoded.
        ImportError: a package that a row needs is not installed.
    """
    if isinstance(methods, Mapping):
        asked = [*methods.items()]
    else:
        asked = [(name.rpartition(":")[2] if is_place(name) else name, name) for name in methods]
    names = [name for name, _ in asked]
    unknown = [
        value
        for _, value in asked
        if isinstance(value, str) and value not in METHODS and not is_place(value)
    ]
    if unknown or not asked:
        raise ValueError(
            f"`methods` must be some of {', '.join(METHODS)}; got {', '.join(unknown) or 'none'}."
        )
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"`methods` names {name} twice: name it once.")
    built = {}
    for name, value in asked:
        if isinstance(value, str) and not is_place(value):
            built[name] = METHODS[value](options)
            continue
        own = load_class(value)() if isinstance(value, str) else value
        _check(name, own)
        built[name] = _with_cache(clone(own), options)
    return built


def title_of(name: str, method: Any) -> str:
    """What tables call a method."""
    return str(getattr(method, "title", "") or name)


def features_title_of(name: str, method: Any) -> str:
    """What pictures call its features."""
    return str(getattr(method, "features_title", "") or title_of(name, method))


def has_features(method: Any) -> bool:
    """Whether pictures can be made of it."""
    return hasattr(method, "describe")


def check_features(methods: Mapping[str, Any]) -> None:
    """Refuse a method that no picture can be made of."""
    for name, method in methods.items():
        if not has_features(method):
            raise ValueError(f"the method {name} has no features.")


def describers_of(method: Any) -> list[Any]:
    """What turns videos into vectors in a method, also in a pipeline, if that can be told."""
    own = getattr(method, "describers", None)
    if own is None:
        own = [part for part in _parts(method).values() if hasattr(part, "rows")]
    return list(own)


def _parts(method: Any) -> dict[str, Any]:
    return {**method.get_params(deep=True), "": method} if hasattr(method, "get_params") else {}


def _with_cache(method: Any, options: Options) -> Any:
    """Describers in it that have no cache get that of the comparison, so that no video is decoded
    once for each split."""
    for name, part in _parts(method).items():
        if name and hasattr(part, "rows") and getattr(part, "cache", "") is None:
            method.set_params(**{f"{name}__cache": options.cache})
    return method


def _check(name: str, method: Any) -> None:
    """Refuse what could not be fitted once the videos are decoded."""
    if inspect.isclass(method):
        raise ValueError(f"the method {name} is the class {method.__name__}: give an instance.")
    decides = ("decision_function", "predict_proba", "predict")
    if not hasattr(method, "fit") or not any(hasattr(method, way) for way in decides):
        raise ValueError(
            f"the method {name} ({type(method).__name__}) must have `fit(videos, y)` and one of "
            f"{', '.join(decides)}."
        )
    try:
        clone(method)
    except (TypeError, RuntimeError) as error:
        raise ValueError(
            f"the method {name} cannot be cloned ({error}): give it scikit-learn's BaseEstimator, "
            "and a constructor that only stores its arguments."
        ) from None
