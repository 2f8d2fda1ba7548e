"""Short signatures of texts: the more alike two texts, the more places in which their signatures agree.

Every run of characters falls, by its hash, into one of 126 places; of those in a place the smallest is
kept (one permutation hashing, Li et al. 2012), and an empty place takes what another one has, found by
a fixed order of places to ask (densification, Shrivastava 2017). So a text is hashed once, not 126
times. The share of places that agree estimates likeness, with an error of a few hundredths; what is
found by it is verified.

    signature   126 x 16 bits = 21 bands of 6     two texts of likeness 0.8 agree in a whole band
                                                  with probability 0.998, of 0.5 with 0.28

Letters: R texts, P places of a signature, N runs of all texts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from danlu.data.lint.shingles import BASE, mixed, shingles

BANDS, BAND = 21, 6
PLACES = BANDS * BAND
EMPTY = np.uint32(0xFFFFFFFF)
ASKED = 64  # places that an empty one asks before it takes the smallest of all
ORDER = (mixed(np.arange(ASKED * PLACES, dtype=np.uint64)) % np.uint64(PLACES)).astype(np.int64)


def signatures(texts: Sequence[str]) -> np.ndarray:
    """Return the signature of each text, none of which is empty."""
    hashes_N, counts = shingles(texts)
    place_N = (((hashes_N >> np.uint64(32)) * np.uint64(PLACES)) >> np.uint64(32)).astype(np.int64)
    row_N = np.repeat(np.arange(len(texts)), counts)
    signed_RP = np.full(len(texts) * PLACES, EMPTY)
    np.minimum.at(signed_RP, row_N * PLACES + place_N, hashes_N.astype(np.uint32))
    return _filled(signed_RP.reshape(len(texts), PLACES)).astype(np.uint16)


def _filled(signed_RP: np.ndarray) -> np.ndarray:
    """Return signatures in which every empty place has taken over another's number."""
    row, place = np.nonzero(signed_RP == EMPTY)
    out_RP = signed_RP.copy()
    for asked in range(ASKED):
        found = signed_RP[row, ORDER[place * ASKED + asked]]
        out_RP[row, place] = found
        left = found == EMPTY
        row, place = row[left], place[left]
    out_RP[row, place] = signed_RP.min(axis=1)[row]
    return out_RP


def band(signed_RP: np.ndarray, number: int) -> np.ndarray:
    """Return one number for each text's places of a band."""
    key_R = np.zeros(len(signed_RP), np.uint64)
    for place in range(number * BAND, (number + 1) * BAND):
        key_R *= BASE
        key_R += signed_RP[:, place]
    return mixed(key_R)
