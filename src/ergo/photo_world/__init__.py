"""The world of photographs: things and small texts on real photographs, and questions about them."""
