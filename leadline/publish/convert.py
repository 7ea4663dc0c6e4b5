"""The converter that belongs to a fitted model; a framework is imported only when it is needed."""

from typing import Any

from leadline.publish.original import Original, PublishError, Task


def original_of(model: Any, task: Task) -> Original:
    """Convert a fitted scikit-learn, LightGBM, XGBoost or PyTorch model.

    Raises ``PublishError`` for anything else, naming what is taken.
    """
    family = _family(model)
    _check_fitted(model, family)
    if family in {"lightgbm", "xgboost", "torch"}:
        _check_coded(family, task)
    if family == "lightgbm":
        from leadline.publish.from_lightgbm import convert_lightgbm_model

        return convert_lightgbm_model(model, task)
    if family == "xgboost":
        from leadline.publish.from_xgboost import convert_xgboost_model

        return convert_xgboost_model(model, task)
    if family == "torch":
        from leadline.publish.from_torch import convert_torch_module

        return convert_torch_module(model, task)
    if family == "sklearn":
        from leadline.publish.from_sklearn import convert_sklearn_model

        return convert_sklearn_model(model, task)
    raise PublishError(
        f"{type(model).__module__}.{type(model).__qualname__} cannot be converted: a fitted "
        "scikit-learn estimator, LightGBM or XGBoost model, or a PyTorch module can."
    )


def _check_fitted(model: Any, family: str | None) -> None:
    if family not in {"sklearn", "lightgbm", "xgboost"} or not hasattr(model, "fit"):
        return
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        check_is_fitted(model)
    except NotFittedError:
        raise PublishError(f"This {type(model).__name__} is not fitted yet.") from None


def _check_coded(family: str, task: Task) -> None:
    """Raises ``PublishError`` for text that a model of numbers cannot take."""
    bare = [one.name for one in task.inputs if one.dtype == "string"]
    bare = [name for name in bare if name not in task.categories]
    if bare:
        raise PublishError(
            f"A {family} model takes numbers, but {', '.join(bare)} is text: give categories, the "
            "values in the order of the codes that it was fitted on."
        )


def _family(model: Any) -> str | None:
    """The framework by where the class or one of its parents lives; nothing is imported for it."""
    homes = [parent.__module__.partition(".")[0] for parent in type(model).__mro__]
    # LightGBM's and XGBoost's estimators are scikit-learn's too, so they are asked first.
    return next(
        (name for name in ("lightgbm", "xgboost", "torch", "sklearn") if name in homes), None
    )
