"""Estimators of a project's own."""

from __future__ import annotations

from typing import Any

from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.dummy import DummyClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler


class Untrusted(DummyClassifier):
    """Code that a serving process has never heard of."""


class Failing(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    def fit(self, X: Any, y: Any) -> Any:
        raise ValueError("cannot fit")


def polynomial() -> Pipeline:
    steps = (SimpleImputer(), StandardScaler(), PolynomialFeatures(2))
    return make_pipeline(*steps, LogisticRegression(max_iter=500))


def untrusted() -> Untrusted:
    return Untrusted(strategy="prior")


def fails() -> Failing:
    return Failing()


def bare() -> LogisticRegression:
    """Takes no missing values."""
    return LogisticRegression()


def exploding() -> Pipeline:
    """Fine wherever rows were seen, and beyond all numbers a little further on."""
    return make_pipeline(SimpleImputer(), PolynomialFeatures(220, interaction_only=False), LinearRegression())
