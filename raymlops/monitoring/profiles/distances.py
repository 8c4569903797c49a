"""Named distances between two columns of counts on frozen bins, and how large each grows where nothing has changed.

========================  ============================================================================================
``jensen_shannon``        Square root of the Jensen-Shannon divergence, natural logarithm (Endres and Schindelin 2003).
``psi``                   Population stability index, half a row added to each bin; without drift it is chi-square
                          over the harmonic mean of the sizes (Yurdakul 2018).
``chi_square``            Cramer's V of two samples of one size: 0 for equal distributions, 1 for disjoint ones.
``l_infinity``            Largest difference of a bin's share, as Vertex AI and TFDV have it for categories.
``kolmogorov_smirnov``    Largest difference of the distribution functions at the edges: a lower bound of the D of the
                          rows, exact where it lies at an edge (Kolmogorov 1933, Smirnov 1948).
``wasserstein``           Earth mover's distance between the bins' middles, in standard deviations of the reference:
                          values beyond the reference's range count as at its end (Villani 2009).
``missing``, ``unseen``   How much the share of missing values, and of new categories or of values out of range, rose.
========================  ============================================================================================

All but ``missing`` look at the values that are present. ``kolmogorov_smirnov`` and ``wasserstein`` ask for numbers.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import special

from raymlops.monitoring.profiles.columns import ColumnBins
from raymlops.monitoring.profiles.divergence import js_distance

__all__ = ["EFFECTS", "MEASURES", "column_distances", "null_distances"]

EFFECTS = ("jensen_shannon", "psi", "chi_square", "l_infinity", "kolmogorov_smirnov", "wasserstein")
"""Distances that a rule may ask to be large."""
MEASURES = (*EFFECTS, "missing", "unseen")
HALF_ROW = 0.5

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]


def column_distances(reference: Counts, window: Counts, bins: ColumnBins) -> dict[str, float]:
    """Every distance that the counts of one column allow, by its name.

    Args:
        reference: Counts of the reference: its bins, then infinite, then missing.
        window: Counts of the window, alike.
        bins: The frozen bins.
    """
    found = {}
    if reference.sum() and window.sum():
        found["missing"] = _share(window[-1], window) - _share(reference[-1], reference)
    r, w = reference[:-1], window[:-1]
    if not r.sum() or not w.sum() or bins.kind == "identifier":
        return found
    p, q = r / r.sum(), w / w.sum()
    seen = p + q > 0
    found["jensen_shannon"] = js_distance(r, w)
    found["psi"] = _psi(r[seen], w[seen])
    found["chi_square"] = math.sqrt(float(np.sum((p - q)[seen] ** 2 / (p + q)[seen])) / 2)
    found["l_infinity"] = float(np.abs(p - q).max())
    found["unseen"] = max(0.0, _unseen(w, bins) - _unseen(r, bins))
    finite = reference[:-2], window[:-2]
    if bins.ordered and finite[0].sum() and finite[1].sum():
        apart = np.abs(np.cumsum(finite[0] / finite[0].sum() - finite[1] / finite[1].sum()))[:-1]
        found["kolmogorov_smirnov"] = float(apart.max(initial=0.0))
        gaps, spread = _middles(finite[0], bins)
        found["wasserstein"] = float(apart @ gaps) / spread if spread > 0 else 0.0
    return found


def null_distances(
    reference: Counts, window: Counts, bins: ColumnBins, *, p: float, inflation: float = 1.0
) -> dict[str, float]:
    """Thresholds that each distance exceeds with a chance of about ``p`` at most where nothing has changed.

    The first four follow from chi-square laws, Kolmogorov's from his; for ``wasserstein`` a norm of Gaussian variables
    lies above its mean by more than ``z`` times its largest standard deviation with the chance of a normal variable
    above ``z`` at most (Borell 1975); for the two shares it is Bernstein's inequality (1924).

    Args:
        reference: As for ``column_distances``.
        window: As for ``column_distances``.
        bins: The frozen bins.
        p: The chance.
        inflation: How much more a squared distance varies than with independent rows.
    """
    found = {}
    r, w = reference[:-1], window[:-1]
    if reference.sum() and window.sum():
        found["missing"] = _rise(int(reference[-1]), int(reference.sum()), int(window.sum()), p, inflation)
    if not r.sum() or not w.sum() or bins.kind == "identifier":
        return found
    noise = inflation * (1 / r.sum() + 1 / w.sum())
    used = int(np.count_nonzero(r + w))
    chi_square = float(special.chdtri(max(1, used - 1), p)) * noise
    shares = (r + w) / (r + w).sum()
    found["jensen_shannon"] = math.sqrt(chi_square / 8)
    found["psi"] = chi_square
    found["chi_square"] = math.sqrt(chi_square / 4)
    found["l_infinity"] = float(np.sqrt(shares * (1 - shares)).max() * special.ndtri(1 - p / 2 / used)) * noise**0.5
    found["unseen"] = _rise(round(_unseen(r, bins) * r.sum()), int(r.sum()), int(w.sum()), p, inflation)
    n, m = reference[:-2].sum(), window[:-2].sum()
    if bins.ordered and n and m:
        noise = inflation * (1 / n + 1 / m)
        found["kolmogorov_smirnov"] = float(special.kolmogi(p)) * noise**0.5
        gaps, spread = _middles(reference[:-2], bins)
        if spread > 0:
            below = np.cumsum(reference[:-2] / n)[:-1]
            mean = float(np.sqrt(2 / np.pi * np.clip(below * (1 - below), 0, None)) @ gaps) / spread
            found["wasserstein"] = (mean + float(special.ndtri(1 - p))) * noise**0.5
    return found


def _psi(reference: Counts, window: Counts) -> float:
    p, q = reference + HALF_ROW, window + HALF_ROW
    p, q = p / p.sum(), q / q.sum()
    return float(np.sum((q - p) * np.log(q / p)))


def _share(part: np.int64, counts: Counts) -> float:
    return float(part) / float(counts.sum())


def _unseen(present: Counts, bins: ColumnBins) -> float:
    """Share of the values that the reference's own did not cover."""
    outside = present[bins.bins - 1] + (present[0] if bins.ordered and bins.bins > 1 else 0)
    return float(outside) / float(present.sum()) if bins.bins > 1 else 0.0


def _middles(reference: Counts, bins: ColumnBins) -> tuple[Floats, float]:
    """Distances between the middles of neighbouring bins, and the standard deviation of the reference put there."""
    edges = np.asarray(bins.edges, dtype=np.float64)
    if edges.size < 2:
        return np.zeros(max(0, bins.bins - 1)), 0.0
    scale = float(np.abs(edges).max())
    edges = edges / scale if scale > 0 else edges
    middles = np.concatenate([edges[:1], (edges[:-1] + edges[1:]) / 2, edges[-1:]])
    share = reference / reference.sum()
    return np.diff(middles), math.sqrt(max(0.0, float(share @ (middles - share @ middles) ** 2)))


def _rise(held: int, n: int, m: int, p: float, inflation: float) -> float:
    share = min(0.5, (held + 1) / (n + 2))
    noise, bits = inflation * (1 / n + 1 / m), -math.log(p)
    return math.sqrt(2 * share * (1 - share) * noise * bits) + noise * bits / 3
