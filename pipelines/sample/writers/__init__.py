"""One module per format. Each takes facts of the truth (any subset) and gives the bytes a vendor would deliver."""
