"""Predict with many networks drawn from the posterior.

Read in this order: :mod:`sampling`, :mod:`forced`.
"""

from nescio.prediction.forced import forced_labels
from nescio.prediction.sampling import BATCH_SIZE, chunk_size, network_generator, stream_logits

__all__ = ["BATCH_SIZE", "chunk_size", "forced_labels", "network_generator", "stream_logits"]
