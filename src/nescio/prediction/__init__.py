"""Predict with many networks drawn from the posterior.

Read in this order: :mod:`trunk`, :mod:`taps`, :mod:`kept`, :mod:`sampling`, :mod:`adaptive`,
:mod:`forced`; what is shared by all sampled networks is found by
:func:`nescio.network.cut_network`.
"""

from nescio.prediction.adaptive import stream_settled
from nescio.prediction.forced import forced_labels
from nescio.prediction.sampling import (
    BATCH_SIZE,
    Pass,
    SampledNetworks,
    check_samples,
    chunk_size,
    stream_logits,
)

__all__ = [
    "BATCH_SIZE",
    "Pass",
    "SampledNetworks",
    "check_samples",
    "chunk_size",
    "forced_labels",
    "stream_logits",
    "stream_settled",
]
