"""Export: a classifier as one ONNX file that decides without PyTorch.

Read in this order: :mod:`graph`, :mod:`search`, :mod:`images`, :mod:`networks`, :mod:`familiar`,
:mod:`rules`, :mod:`model`, :mod:`check`, :mod:`export`. It needs the extra ``nescio[onnx]``.
"""

from nescio.export.export import Exported, export_onnx, require_onnx

__all__ = ["Exported", "export_onnx", "require_onnx"]
