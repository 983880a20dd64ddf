"""Videos to tables of features, and the formats that keep them."""
