"""The name that 0.1 gave ``raymlops.serving.models.model_files``; scripts from then import it."""

from raymlops.serving.models.model_files import load_model, save_model

__all__ = ["load_model", "save_model"]
