"""Published networks that are no chain of layers, one file each."""
