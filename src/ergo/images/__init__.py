"""Any picture file -> upright 8-bit sRGB pixels, whole or by part; views as files."""
