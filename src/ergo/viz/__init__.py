"""What was looked at, as a picture and as a page."""
