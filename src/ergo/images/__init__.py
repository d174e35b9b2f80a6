"""Any picture file -> upright 8-bit sRGB pixels, whole or by part; views as files."""

from ergo.images.decode import PictureSource, load_image
from ergo.images.picture import Picture

__all__ = ["Picture", "PictureSource", "load_image"]
