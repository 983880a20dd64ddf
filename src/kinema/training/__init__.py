"""Prepared clips and a recipe to weights."""
