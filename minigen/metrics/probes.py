"""What is in a code: two simple classifiers that read it, as scikit-learn estimators with `fit` and `score`.

    linear_probe().fit(codes, labels).score(other_codes, other_labels)  # codes (N, d), labels (N,) -> accuracy

What they leave open is chosen by three-fold cross-validation on what they are fitted on, so codes of different kinds
can be compared: each is read in the way that suits it. They need the package scikit-learn.
"""

from __future__ import annotations

from typing import Any


def linear_probe() -> Any:
    """Logistic regression on standardised codes, which tells classes apart by planes (Alain & Bengio 2017)."""
    from sklearn.linear_model import LogisticRegression

    return _cross_validated(LogisticRegression(max_iter=1000), probe__C=[0.01, 0.1, 1, 10])


def nearest_neighbours() -> Any:
    """The most frequent class among the nearest codes: of one, three or five, standardised or as they are."""
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.preprocessing import StandardScaler

    scale = [StandardScaler(), "passthrough"]
    return _cross_validated(KNeighborsClassifier(), probe__n_neighbors=[1, 3, 5], scale=scale)


def _cross_validated(probe: Any, **choices: list[Any]) -> Any:
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    return GridSearchCV(Pipeline([("scale", StandardScaler()), ("probe", probe)]), choices, cv=3)
