"""Where `C3DFeatures` was, so that a pipeline that was dumped then still loads."""

from kinema.features.estimators import C3DFeatures

__all__ = ["C3DFeatures"]
