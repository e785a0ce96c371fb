"""What is in a code: two simple classifiers that read it, as scikit-learn estimators with `fit` and `score`.

    linear_probe().fit(codes, labels).score(other_codes, other_labels)  # codes (N, d), labels (N,) -> accuracy

Their hyperparameters are chosen by three-fold cross-validation on what they are fitted on, so codes of different kinds
can be compared: each is read in the way that suits it. So each class needs at least 3 labels.
"""

from __future__ import annotations

from typing import Any

from ..data.base import require


def linear_probe() -> Any:
    """Logistic regression on standardised codes, which tells classes apart by planes (Alain & Bengio 2017)."""
    logistic_regression = _sklearn("linear_model").LogisticRegression(max_iter=1000)
    return _cross_validated(logistic_regression, probe__C=[0.01, 0.1, 1, 10])


def nearest_neighbours() -> Any:
    """The most frequent class among the nearest codes: of one, three or five, standardised or as they are."""
    scale = [_sklearn("preprocessing").StandardScaler(), "passthrough"]
    return _cross_validated(_sklearn("neighbors").KNeighborsClassifier(), probe__n_neighbors=[1, 3, 5], scale=scale)


def _cross_validated(probe: Any, **choices: list[Any]) -> Any:
    pipeline = _sklearn("pipeline").Pipeline([("scale", _sklearn("preprocessing").StandardScaler()), ("probe", probe)])
    return _sklearn("model_selection").GridSearchCV(pipeline, choices, cv=3)


def _sklearn(module: str) -> Any:
    return require(f"sklearn.{module}", "scikit-learn", "a probe")
